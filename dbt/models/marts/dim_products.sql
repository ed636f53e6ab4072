with

products as (

    select * from {{ ref('stg_products') }}

)

select
    -- ids
    product_id,

    -- text
    product_name,
    product_category,

    -- numerics
    unit_price,

    -- timestamps
    created_at,
    updated_at

from products
