with

source as (

    select * from {{ source('retail', 'products') }}

),

renamed as (

    select
        -- ids
        cast(product_id as number(38, 0)) as product_id,

        -- text
        product as product_name,
        product_category,

        -- numerics: money arrives as FLOAT and becomes exact again here
        cast(price as number(10, 2)) as unit_price,

        -- timestamps
        created_at,
        updated_at,
        _airbyte_extracted_at as loaded_at

    from source
    -- Airbyte keeps a deleted row and marks it.
    where _ab_cdc_deleted_at is null

)

select * from renamed
