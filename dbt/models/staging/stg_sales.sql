with

source as (

    select * from {{ source('retail', 'sales') }}

),

renamed as (

    select
        -- ids
        cast(order_id as number(38, 0)) as order_id,
        cast(customer_id as number(38, 0)) as customer_id,
        cast(product_id as number(38, 0)) as product_id,

        -- text
        cust_name as customer_name,
        product as product_name,
        product_category,
        {{ blank_as_unknown('city') }} as city,
        {{ blank_as_unknown('state') }} as state,
        {{ blank_as_unknown('country') }} as country,
        -- NULL in rows that were loaded before the column existed and have not changed since.
        coalesce(order_status, 'placed') as order_status,

        -- numerics: money arrives as FLOAT and becomes exact again here
        cast(quantity as number(10, 0)) as quantity,
        cast(price as number(10, 2)) as unit_price,
        cast(discount as number(10, 2)) as unit_discount,
        cast(shipping_cost as number(10, 2)) as shipping_cost,

        -- dates and timestamps
        cast(purchased_at as date) as purchase_date,
        cast(order_date_at as date) as order_date,
        ordered_at,
        created_at,
        updated_at,
        _airbyte_extracted_at as loaded_at,

        -- Airbyte's own
        _airbyte_generation_id as generation_id

    from source
    -- Airbyte keeps a deleted row and marks it.
    where _ab_cdc_deleted_at is null

)

select * from renamed
