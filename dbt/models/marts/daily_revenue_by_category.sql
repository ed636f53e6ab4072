with

days as (

    select * from {{ ref('int_revenue_by_day') }}
    -- A block that lost its last order keeps a row without orders.
    where orders > 0

),

revenue as (

    select
        purchase_date,
        product_category,
        sum(orders) as orders,
        sum(total_revenue) as total_revenue,
        sum(total_discount) as total_discount,
        sum(net_revenue) as net_revenue,
        sum(refund) as refund

    from days
    group by purchase_date, product_category

)

select * from revenue
