{#- Orders and money of each block of orders, by the columns of `dimensions`. Incremental: only blocks with an order
    that was loaded or deleted since the last build are added up again, each as a whole, so a late change, a deletion
    and a build after a crash come out as in a full refresh. A block that lost its last order keeps one row without
    orders: it takes the place of what the block held.

    A refresh of the stream in Airbyte can remove orders without a trace. It begins a new generation, so blocks that
    hold another generation than the newest one are added up again too, until all of their orders are of it. -#}
{% macro revenue_by_block(dimensions) %}

{%- set money = ['total_revenue', 'total_discount', 'net_revenue', 'refund'] -%}
{#- Here and not below, so that dbt sees both without a build. -#}
{%- set facts, deleted = ref('fct_sales'), ref('stg_sales_deleted') -%}

with

sales as (

    select
        {{ order_block() }} as order_block,
        order_id,
        {{ dimensions | join(',\n        ') }},
        {{ money | join(',\n        ') }},
        loaded_at,
        generation_id
    from {{ facts }}

),

newest as (

    select {{ newest_generation(facts) }} as generation_id

),

{% if reads_changes_only() %}
mark as (

    select coalesce(max(loaded_at), '1970-01-01') as loaded_at from {{ this }}

),

blocks as (

    select
        order_block,
        max(loaded_at) as loaded_at
    from (
        select
            {{ order_block() }} as order_block,
            loaded_at
        from {{ facts }}
        where loaded_at >= (select mark.loaded_at from mark)
        union all
        select
            {{ order_block() }} as order_block,
            loaded_at
        from {{ deleted }}
        where loaded_at >= (select mark.loaded_at from mark)
        union all
        select
            order_block,
            loaded_at
        from {{ this }}
        where generation_id <> (select newest.generation_id from newest)
    ) as changed
    group by order_block

),

{% else %}
blocks as (

    select
        order_block,
        max(loaded_at) as loaded_at
    from (
        select
            order_block,
            loaded_at
        from sales
        {% if is_incremental() %}
        -- The table lacks a column. Its own blocks too: one may have lost its last order.
        union all
        select
            order_block,
            loaded_at
        from {{ this }}
        {% endif %}
    ) as known
    group by order_block

),

{% endif %}
revenue as (

    select
        blocks.order_block,
        {%- for dimension in dimensions %}
        sales.{{ dimension }},
        {%- endfor %}
        count(sales.order_id) as orders,
        {%- for measure in money %}
        coalesce(sum(sales.{{ measure }}), 0) as {{ measure }},
        {%- endfor %}
        max(blocks.loaded_at) as loaded_at,
        case
            when count(sales.order_id) = 0 then max(newest.generation_id)
            when min(coalesce(sales.generation_id, -1)) = max(coalesce(sales.generation_id, -1)) then max(sales.generation_id)
            else -1
        end as generation_id
    from blocks
    cross join newest
    left join sales on blocks.order_block = sales.order_block
    group by
        blocks.order_block,
        {%- for dimension in dimensions %}
        sales.{{ dimension }}{{ ',' if not loop.last }}
        {%- endfor %}

)

select * from revenue

{% endmacro %}
