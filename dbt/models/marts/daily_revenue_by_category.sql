with

sales as (

    select * from {{ ref('fct_sales') }}

),

revenue as (

    select
        purchase_date,
        product_category,
        count(*) as orders,
        {{ exact_sum('total_revenue', scale=2) }} as total_revenue,
        {{ exact_sum('total_discount', scale=2) }} as total_discount,
        {{ exact_sum('net_revenue', scale=2) }} as net_revenue

    from sales
    group by purchase_date, product_category

)

select * from revenue
