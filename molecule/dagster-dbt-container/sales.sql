-- 2,000 sales, to the cent and with places of the same name in several countries.
insert into public.customers (customer_id, cust_name, city, state, country)
select i, 'customer ' || i, 'city', 'state', 'country' from generate_series(0, 96) as i;
insert into public.products (product_id, product, product_category, price)
select i, 'product ' || i, 'category ' || i % 5, i from generate_series(0, 30) as i;

insert into public.sales (
    cust_name, product, product_category, quantity, price, discount, shipping_cost, customer_id, product_id,
    purchased_at, order_date_at, city, state, country
)
select
    'customer ' || i % 97, 'product ' || i % 31, 'category ' || i % 5, i % 9, i % 7919 / 100.0, i % 7919 / 700.0, 4.99,
    i % 97, i % 31, '2026-01-01', '2026-01-02', 'city ' || i % 50, 'state ' || i % 10, 'country ' || i % 3
from generate_series(1, 2000) as i;
