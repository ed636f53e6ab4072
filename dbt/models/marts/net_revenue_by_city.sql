with

places as (

    select * from {{ ref('int_revenue_by_place') }}
    -- A block that lost its last order keeps a row without orders.
    where orders > 0

),

revenue as (

    select
        country,
        state,
        city,
        sum(orders) as orders,
        sum(total_revenue) as total_revenue,
        sum(total_discount) as total_discount,
        sum(net_revenue) as net_revenue,
        sum(refund) as refund

    from places
    group by country, state, city

)

select * from revenue
