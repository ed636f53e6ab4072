with

customers as (

    select * from {{ ref('stg_customers') }}

)

select
    -- ids
    customer_id,
    {{ location_id() }} as location_id,

    -- text
    customer_name,
    city,
    state,
    country,

    -- timestamps
    created_at,
    updated_at

from customers
