with

source as (

    select * from {{ source('retail', 'sales') }}
    -- Airbyte keeps a deleted row and marks it.
    where _ab_cdc_deleted_at is not null

),

renamed as (

    select
        -- ids
        cast(order_id as number(38, 0)) as order_id,

        -- timestamps
        cast(_ab_cdc_deleted_at as timestamp_tz) as deleted_at,
        _airbyte_extracted_at as loaded_at

    from source

)

select * from renamed
