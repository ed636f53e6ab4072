with

states as (

    select * from {{ ref('net_revenue_by_state') }}

),

revenue as (

    select
        country,
        sum(orders) as orders,
        sum(total_revenue) as total_revenue,
        sum(total_discount) as total_discount,
        sum(net_revenue) as net_revenue,
        sum(refund) as refund

    from states
    group by country

)

select * from revenue
