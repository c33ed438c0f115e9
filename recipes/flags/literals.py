"""Works out constants in Python source without running it: lists, dict keys, class attributes, imported names."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

Reader = Callable[[str], str | None]
"""Source text of a module by its dotted name; None where the release has none."""


class NotLiteral(Exception):
    """The expression depends on something only a running program knows."""


class Sources:
    """The modules of a release, parsed when first needed."""

    def __init__(self, read: Reader) -> None:
        self._read = read
        self.module = cache(self._module)

    def _module(self, name: str) -> ast.Module:
        text = self._read(name)
        if text is None:
            raise NotLiteral(f"no module {name}")
        return ast.parse(text)

    def find_class(self, module: str, name: str) -> ast.ClassDef:
        """The class, followed through imports. Raises NotLiteral."""
        owner, node = self.find(module, name)
        if not isinstance(node, ast.ClassDef):
            raise NotLiteral(f"{owner}.{name} is no class")
        return node

    def function(self, module: str, name: str) -> tuple[str, ast.FunctionDef]:
        """The module that defines a function, and the function. Raises NotLiteral."""
        owner, node = self.find(module, name)
        if not isinstance(node, ast.FunctionDef):
            raise NotLiteral(f"{owner}.{name} is no function")
        return owner, node

    def evaluate(self, module: str, node: ast.expr, local: dict[str, ast.expr] | None = None) -> Any:
        """The value of an expression as JSON types (a set becomes a sorted list, a dict the list of its keys)."""
        value = _Evaluation(self, module, local or {}).visit(node)
        return value

    def name(self, module: str, name: str) -> Any:
        owner, node = self.find(module, name)
        if not isinstance(node, ast.expr):
            raise NotLiteral(f"{owner}.{name} is no constant")
        return self.evaluate(owner, node)

    def attribute(self, module: str, owner: str, name: str) -> Any:
        where, node = self.find(module, owner)
        if isinstance(node, ast.ClassDef):
            values = {
                target: statement.value
                for statement in reversed(node.body)
                if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value
                for target in _targets(statement)
            }
            if name in values:
                return self.evaluate(where, values[name], values)
        raise NotLiteral(f"{module}.{owner}.{name}")

    def members(self, module: str, name: str) -> list[str]:
        """The members' names of an enumeration. Raises NotLiteral."""
        body = self.find_class(module, name).body
        return [target for statement in body if isinstance(statement, ast.Assign) for target in _targets(statement)]

    def find(self, module: str, name: str) -> tuple[str, ast.AST]:
        """The module that really defines a name, and the class, function or expression it is bound to."""
        for statement in _executed(self.module(module).body):
            if isinstance(statement, (ast.ClassDef, ast.FunctionDef)) and statement.name == name:
                return module, statement
            if isinstance(statement, (ast.Assign, ast.AnnAssign)) and name in _targets(statement) and statement.value:
                return module, statement.value
            if isinstance(statement, ast.ImportFrom):
                for alias in statement.names:
                    if (alias.asname or alias.name) == name:
                        return self.find(self._imported(module, statement), alias.name)
        raise NotLiteral(f"{module}.{name}")

    def _imported(self, module: str, statement: ast.ImportFrom) -> str:
        """The full name of the module that a statement imports from."""
        if not statement.level:
            return statement.module or ""
        parts = module.split(".")
        if self._read(f"{module}.__init__") is not None:
            parts.append("__init__")
        return ".".join([*parts[: -statement.level], *([statement.module] if statement.module else [])])


class _Evaluation:
    def __init__(self, sources: Sources, module: str, local: dict[str, ast.expr]) -> None:
        self._sources = sources
        self._module = module
        self._local = local

    def visit(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return self._items(items)
            case ast.Set(elts=items):
                return sorted(self._items(items))
            case ast.Dict(keys=keys):
                return [self.visit(key) for key in keys if key is not None]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.visit(operand)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self.visit(left) + self.visit(right)
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                return self.visit(left) * self.visit(right)
            case ast.Name(id=name) if name in self._local:
                return self.visit(self._local[name])
            case ast.Name(id=name):
                return self._sources.name(self._module, name)
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                return self._sources.attribute(self._module, owner, name)
            case ast.Subscript(value=value, slice=ast.Constant(value=index)):
                return self.visit(value)[index]
            case ast.Call(func=ast.Name(id="list"), args=[argument]):
                return list(self.visit(argument))
            case ast.Call(func=ast.Name(id="set" | "frozenset"), args=[argument]):
                return sorted(self.visit(argument))
            case ast.Call(func=ast.Attribute(value=value, attr="keys"), args=[]):
                return self.visit(value)
            case ast.ListComp(
                elt=ast.Call(func=ast.Attribute(value=ast.Attribute(value=ast.Name(), attr="name"), attr="lower")),
                generators=[ast.comprehension(iter=ast.Name(id=enumeration), ifs=[])],
            ):
                return [member.lower() for member in self._sources.members(self._module, enumeration)]
            case ast.Call(
                func=ast.Attribute(attr="field"), keywords=[ast.keyword(arg="default_factory", value=factory)]
            ):
                return [] if ast.unparse(factory) == "list" else self._body(factory)
        raise NotLiteral(ast.unparse(node))

    def _body(self, factory: ast.expr) -> Any:
        if isinstance(factory, ast.Lambda):
            return self.visit(factory.body)
        raise NotLiteral(ast.unparse(factory))

    def _items(self, items: list[ast.expr]) -> list[Any]:
        values: list[Any] = []
        for item in items:
            if isinstance(item, ast.Starred):
                values += self.visit(item.value)
            else:
                values.append(self.visit(item))
        return values


def _executed(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module that run: of `if TYPE_CHECKING: … else: …` the second half."""
    for statement in body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            yield from statement.orelse
        else:
            yield statement


def _targets(statement: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]
