"""Names of result columns that a statement does not name: Snowflake takes the text of the expression, in upper case."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.dialects.snowflake import Snowflake
from sqlglot.tokenizer_core import Token, TokenType

_OPENING = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE}
_CLOSING = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE}
_ENDS = {
    TokenType.FROM,
    TokenType.WHERE,
    TokenType.GROUP_BY,
    TokenType.HAVING,
    TokenType.ORDER_BY,
    TokenType.LIMIT,
    TokenType.UNION,
    TokenType.INTERSECT,
    TokenType.EXCEPT,
    TokenType.QUALIFY,
    TokenType.SEMICOLON,
}
_PLACE = ("line", "col", "start", "end")
_UNNAMED = (exp.Alias, exp.Aliases, exp.Column, exp.Star, exp.Columns)


def projection_texts(sql: str) -> list[str]:
    """The texts of what the outermost SELECT of a statement selects; empty where there is none to be found."""
    depth, texts, first, last = 0, [], None, None
    inside = False
    for token in Snowflake().tokenize(sql):
        if not depth and not inside and token.token_type == TokenType.SELECT:
            inside = True
            continue
        if token.token_type in _CLOSING:
            depth -= 1
        if inside and not depth:
            if token.token_type in _ENDS:
                break
            if token.token_type == TokenType.COMMA:
                texts.append(_text(sql, first, last))
                first = last = None
                continue
            if first is None and token.token_type in (TokenType.DISTINCT, TokenType.ALL):
                continue
        if inside:
            first, last = first or token, token
        if token.token_type in _OPENING:
            depth += 1
    return [*texts, _text(sql, first, last)] if inside and first else []


def _text(sql: str, first: Token | None, last: Token | None) -> str:
    return sql[first.start : last.end + 1] if first and last else ""


def name_columns(expression: exp.Expr, sql: str) -> None:
    """Give every unnamed expression that a SELECT selects the name that it has in Snowflake."""
    selects = list(expression.find_all(exp.Select))
    outer = _outermost(expression)
    texts = projection_texts(sql) if outer else []
    for select in selects:
        known = texts if select is outer and len(texts) == len(select.expressions) else None
        for number, projection in enumerate(list(select.expressions)):
            if isinstance(projection, _UNNAMED) or projection.is_star:
                continue
            name = known[number] if known else projection.sql(dialect="snowflake")
            projection.replace(exp.alias_(projection.copy(), name.upper(), quoted=True))


def _outermost(expression: exp.Expr) -> exp.Select | None:
    found: exp.Expr | None = expression
    while isinstance(found, exp.SetOperation):
        found = found.this
    return found if isinstance(found, exp.Select) else None


def forget_places(expression: exp.Expr) -> None:
    """Forget where in the text of the statement each node stood: every copy of the tree would copy that as well."""
    for node in expression.walk():
        if node._meta:
            for name in _PLACE:
                node._meta.pop(name, None)
            node._meta = node._meta or None
