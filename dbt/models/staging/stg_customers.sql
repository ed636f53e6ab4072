with

source as (

    select * from {{ source('retail', 'customers') }}

),

renamed as (

    select
        -- ids
        cast(customer_id as number(38, 0)) as customer_id,

        -- text
        cust_name as customer_name,
        {{ blank_as_unknown('city') }} as city,
        {{ blank_as_unknown('state') }} as state,
        {{ blank_as_unknown('country') }} as country,

        -- timestamps
        created_at,
        updated_at,
        _airbyte_extracted_at as loaded_at

    from source
    -- Airbyte keeps a deleted row and marks it.
    where _ab_cdc_deleted_at is null

)

select * from renamed
