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
        {{ exact_sum('orders') }} as orders,
        {{ exact_sum('total_revenue', scale=2) }} as total_revenue,
        {{ exact_sum('total_discount', scale=2) }} as total_discount,
        {{ exact_sum('net_revenue', scale=2) }} as net_revenue,
        {{ exact_sum('refund', scale=2) }} as refund

    from days
    group by purchase_date, product_category

)

select * from revenue
