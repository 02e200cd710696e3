"""The small changes of Python code that `mutants.py` tries."""

import ast
import copy
import itertools

COMPARED = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
CALCULATED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


def changed(node, **fields):
    """A copy of `node` with other values of some fields."""
    twin = copy.deepcopy(node)
    for name, value in fields.items():
        setattr(twin, name, value)
    return twin


def mutations(node):
    """Yields (operator, the node that replaces `node`)."""
    match node:
        case ast.Compare(ops=[operator]):
            for other in COMPARED[type(operator)]:
                yield "comparison", changed(node, ops=[other()])
        case ast.BinOp(op=operator) if type(operator) in CALCULATED:
            yield "arithmetic", changed(node, op=CALCULATED[type(operator)]())
        case ast.BoolOp(op=operator):
            other = ast.Or() if isinstance(operator, ast.And) else ast.And()
            yield "and, or", changed(node, op=other)
        case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
            yield "not", operand
        case ast.Constant(value=bool(value)):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield "constant", ast.Constant(value + 1)
        case ast.Expr(value=ast.Call()):
            yield "call left out", ast.Pass()
        case ast.Raise() | ast.Continue() if "NotImplementedError" not in ast.unparse(node):
            yield f"{type(node).__name__.lower()} left out", ast.Pass()
        case ast.Return(value=ast.Call(args=[ast.Name() as first, *_])):
            yield "first argument returned", ast.Return(first)
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield "None returned", ast.Return(ast.Constant(None))
        case ast.IfExp(test=test):
            yield "condition", changed(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.If(test=ast.Name() | ast.Call() | ast.Attribute()):
            yield "condition", ast.UnaryOp(ast.Not(), node.test)
        case ast.comprehension(ifs=[test]):
            yield "filter left out", ast.Constant(True)


def is_of_meaning(node, parent):
    """False for text and types: a change there is none, or one that only a reader notices."""
    types = (getattr(parent, "annotation", None), getattr(parent, "returns", None))
    is_instance = isinstance(parent, ast.Call) and ast.unparse(parent.func) == "isinstance"
    is_log = isinstance(node, ast.Call) and ast.unparse(node.func).startswith("warnings.")
    is_text = isinstance(node, ast.JoinedStr) or (
        isinstance(parent, ast.Raise) and isinstance(node, ast.expr)
    )
    return not (node in types or is_instance or is_log or is_text)


def sites(node):
    """Yields (operator, the node whose text goes, the node that comes) in all of a tree."""
    for child in ast.iter_child_nodes(node):
        if not is_of_meaning(child, node):
            continue
        for operator, other in mutations(child):
            # These two replace a condition inside the node.
            inner = {ast.If: "test", ast.comprehension: "ifs"}.get(type(child))
            old = getattr(child, inner) if inner else child
            yield operator, old[0] if isinstance(old, list) else old, other
        yield from sites(child)


def mutants_of(path):
    """All mutants of a file: (operator, line, the old text, the new text, the file's new text)."""
    source = path.read_bytes()
    starts = [0, *itertools.accumulate(len(line) for line in source.splitlines(keepends=True))]
    found = []
    for operator, old, new in sites(ast.parse(source)):
        first = starts[old.lineno - 1] + old.col_offset
        last = starts[old.end_lineno - 1] + old.end_col_offset
        text = ast.unparse(ast.fix_missing_locations(new))
        text = f"({text})" if isinstance(new, ast.expr) else text
        whole = source[:first] + text.encode() + source[last:]
        found.append((operator, old.lineno, source[first:last].decode(), text, whole))
    return found
