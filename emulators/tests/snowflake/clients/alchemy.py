"""snowflake-sqlalchemy, by itself and below pandas."""

import datetime
from decimal import Decimal

import pandas as pd
import sqlalchemy as sa
from attempts import LOGIN, attempt, report
from snowflake.sqlalchemy import URL, MergeInto
from sqlalchemy.orm import DeclarativeBase, Session

_ADDRESS = {
    name: LOGIN[name] for name in ("account", "user", "password", "host", "port", "database", "schema")
}
engine = sa.create_engine(
    URL(**_ADDRESS), connect_args={name: value for name, value in LOGIN.items() if name not in _ADDRESS}
)


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orm_orders"
    id = sa.Column(sa.Integer, sa.Sequence("orm_orders_seq"), primary_key=True)
    name = sa.Column(sa.String(20))
    amount = sa.Column(sa.Numeric(10, 2))
    at = sa.Column(sa.DateTime)


@attempt("ORM: create_all with a sequence, insert, select, update, delete")
def _():
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        at = datetime.datetime(2026, 1, 2, 3, 4, 5)
        session.add_all([Order(name="a", amount=Decimal("1.10"), at=at), Order(name="b", amount=2)])
        session.commit()
        first = session.scalars(sa.select(Order).where(Order.name == "a")).one()
        assert (first.id, first.amount, first.at) == (1, Decimal("1.10"), at)
        assert session.scalar(sa.select(sa.func.sum(Order.amount))) == Decimal("3.10")
        first.name = "aa"
        session.commit()
        session.delete(first)
        session.commit()
        assert session.scalars(sa.select(Order.name)).all() == ["b"]


@attempt("reflection: tables, columns, keys, schemas")
def _():
    inspector = sa.inspect(engine)
    assert "orm_orders" in inspector.get_table_names()
    assert inspector.get_pk_constraint("orm_orders")["constrained_columns"] == ["id"]
    assert inspector.get_foreign_keys("orm_orders") == []
    assert "public" in inspector.get_schema_names()
    table = sa.Table("orm_orders", sa.MetaData(), autoload_with=engine)
    assert list(table.columns.keys()) == ["id", "name", "amount", "at"]
    assert (table.c.name.type.length, table.c.amount.type.scale) == (20, 2)
    assert not inspector.has_table("nothing")


@attempt("Core: insert many, update, MERGE, rollback")
def _():
    meta = sa.MetaData()
    table = sa.Table("core_rows", meta, sa.Column("id", sa.Integer), sa.Column("v", sa.String))
    meta.create_all(engine)
    source = sa.select(sa.literal(2).label("id"), sa.literal("m").label("v")).subquery("s")
    merge = MergeInto(table, source, table.c.id == source.c.id)
    merge.when_matched_then_update().values(v=source.c.v)
    merge.when_not_matched_then_insert().values(id=source.c.id, v=source.c.v)
    with engine.begin() as connection:
        connection.execute(sa.insert(table), [{"id": 1, "v": "x"}, {"id": 2, "v": "y"}])
        connection.execute(sa.update(table).where(table.c.id == 1).values(v="z"))
        connection.execute(merge)
    with engine.connect() as connection:
        connection.execute(sa.insert(table), {"id": 7, "v": "q"})
        connection.rollback()
        assert connection.execute(sa.select(table).order_by(table.c.id)).all() == [(1, "z"), (2, "m")]


@attempt("pandas read_sql and to_sql")
def _():
    frame = pd.DataFrame(
        {"id": [1, 2], "name": ["a", None], "at": pd.to_datetime(["2026-01-01", "2026-01-02"])}
    )
    frame.to_sql("framed", engine, index=False, if_exists="replace")
    frame.to_sql("framed", engine, index=False, if_exists="append", method="multi")
    found = pd.read_sql("select * from framed order by id", engine)
    assert found["id"].tolist() == [1, 1, 2, 2]
    assert pd.read_sql_table("framed", engine).shape == (4, 3)


engine.dispose()
report()
