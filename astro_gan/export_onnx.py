"""A model's forward pass as an ONNX graph with free batch, height and width.

The graph is made from the jaxpr, primitive by primitive. What depends on weights alone (weight normalisation, batch
statistics) is computed here, once. Sizes stay symbolic: JAX writes them as expressions of the input's ('4*height',
'floordiv(height + 63, 64)'), and those become a few integer nodes.

A primitive or a use of one that is not in the table is a UserError, never a guess. The operators are those of opset
18: https://onnx.ai/onnx/operators/

Why not a library: jax2onnx 0.17 wants an orbax-checkpoint below 0.11.37 (training needs more), tf2onnx fails
on the graphs of jax2tf. To be looked at again in November 2027: then this file goes if jax2onnx has caught up.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from jax.extend.core import Literal
from onnx import helper, numpy_helper

from astro_gan.errors import UserError

OPSET, IR_VERSION = 18, 8  # of ONNX 1.13 (2022): runtimes since then read it
INPUT, OUTPUT = 'images', 'output'
_LARGEST = 2**31 - 2**20  # bytes of a protocol buffer

Value = str | np.ndarray | np.generic | None  # a tensor's name in the graph; a known value; or nothing: it has size 0


def to_onnx(forward: Callable[[jax.Array], jax.Array], channels: int, description: dict[str, Any]) -> bytes:
    """An ONNX model: input 'images' `[batch, height, width, channels]` float32, output 'output'.

    Args:
        forward: `[N, H, W, channels]` -> `[N, H', W', C']`, float32.
        channels: of the input.
        description: goes into the model's metadata, each value as JSON.

    Raises:
        UserError: the network does something that has no translation here, or is larger than a file may be.
    """
    sizes = jax.export.symbolic_shape('batch, height, width')
    spec = jax.ShapeDtypeStruct((*sizes, channels), jnp.float32)
    closed = jax.make_jaxpr(forward)(spec)
    graph = _Graph()
    (output,) = _translate(graph, closed.jaxpr, closed.consts, [INPUT])
    graph.nodes.append(helper.make_node('Identity', [graph.name(output)], [OUTPUT]))
    tensors = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [str(size) for size in shape[:-1]] + [shape[-1]])
        for name, shape in ((INPUT, spec.shape), (OUTPUT, closed.out_avals[0].shape))
    ]
    onnx_graph = helper.make_graph(graph.nodes, 'astro_gan', tensors[:1], tensors[1:], graph.initializers)
    opset = [helper.make_opsetid('', OPSET)]
    model = helper.make_model(onnx_graph, opset_imports=opset, ir_version=IR_VERSION, producer_name='astro_gan')
    helper.set_model_props(model, {key: json.dumps(value, allow_nan=False) for key, value in description.items()})
    if model.ByteSize() > _LARGEST:
        raise UserError(
            f'onnx: the model has {model.ByteSize() / 2**30:.1f} GiB, a file holds 2; export another format'
        )
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


class _Graph:
    """Nodes and constants so far."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._names: dict[Any, str] = {}

    def add(self, operator: str, *inputs: Value, **attributes: Any) -> str:
        """A node with one output: its name."""
        name = f't{len(self.nodes)}'
        self.nodes.append(helper.make_node(operator, [self.name(value) for value in inputs], [name], **attributes))
        return name

    def name(self, value: Value) -> str:
        """A tensor's name; a known value becomes a constant of the graph, once."""
        if isinstance(value, str):
            return value
        if value is None:
            raise UserError('onnx: a tensor of size 0 is used')
        array = np.asarray(value, order='C')
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._names:
            self._names[key] = f'c{len(self.initializers)}'
            self.initializers.append(numpy_helper.from_array(array, self._names[key]))
        return self._names[key]

    def sizes(self, sizes: Sequence[Any]) -> Value:
        """Sizes of which some are symbolic as a tensor `[len(sizes)]` of int64."""
        if _is_static(sizes):
            return np.array(sizes, np.int64)
        return self.add('Concat', *(self._size(ast.parse(str(size), mode='eval').body) for size in sizes), axis=0)

    def _size(self, node: ast.expr) -> Value:
        """An expression as JAX prints it (and `jax.export.symbolic_shape` reads it), as a tensor `[1]` of int64."""
        key = ast.dump(node)
        if key in self._names:
            return self._names[key]
        match node:
            case ast.Constant(value=int(number)):
                return np.array([number], np.int64)
            case ast.Name(id='batch' | 'height' | 'width' as name):
                axis = ('batch', 'height', 'width').index(name)
                result = self.add('Shape', INPUT, start=axis, end=axis + 1)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                result = self.add('Neg', self._size(operand))
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() as operator, right=right):
                result = self.add(
                    {'Add': 'Add', 'Sub': 'Sub', 'Mult': 'Mul'}[type(operator).__name__],
                    self._size(left),
                    self._size(right),
                )
            case ast.Call(func=ast.Name(id='floordiv'), args=[left, right]):
                # ONNX' division rounds towards zero, its remainder (as Python's) has the divisor's sign.
                a, b = self._size(left), self._size(right)
                result = self.add('Div', self.add('Sub', a, self.add('Mod', a, b)), b)
            case ast.Call(func=ast.Name(id='mod' | 'max' | 'min' as name), args=[left, right]):
                result = self.add(name.capitalize(), self._size(left), self._size(right))
            case _:
                raise UserError(f'onnx: the size {ast.unparse(node)} has no translation')
        self._names[key] = result
        return result


def load(data: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """The model run by onnxruntime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(data, options, providers=['CPUExecutionProvider'])
    return lambda images: session.run([OUTPUT], {INPUT: images})[0]


def _is_static(shape: Sequence[Any]) -> bool:
    return all(isinstance(size, int | np.integer) for size in shape)


def _translate(graph: _Graph, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Value]) -> list[Value]:
    """Adds a jaxpr's equations to the graph; what its outputs are called, or are."""
    values: dict[Any, Value] = dict(zip(jaxpr.invars, inputs, strict=True))
    values |= dict(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))

    def read(atom: Any) -> Value:
        if isinstance(atom, Literal):
            aval: Any = atom.aval
            return np.asarray(atom.val, aval.dtype)
        return values[atom]

    for equation in jaxpr.eqns:
        arguments = [read(atom) for atom in equation.invars]
        shapes = [variable.aval.shape for variable in equation.outvars]
        inner = equation.params.get('call_jaxpr', equation.params.get('jaxpr'))
        known = bool(arguments) and all(isinstance(argument, np.ndarray) for argument in arguments)
        results: list[Value]
        if any(0 in [size for size in shape if isinstance(size, int)] for shape in shapes):
            results = [None] * len(shapes)
        elif inner is not None and equation.primitive.name in _CALLS:
            results = _translate(graph, inner.jaxpr, inner.consts, arguments)
        elif known and all(map(_is_static, shapes)):
            found = equation.primitive.bind(*arguments, **equation.params)
            results = [np.asarray(x) for x in (found if equation.primitive.multiple_results else [found])]
        else:
            translate = _TABLE.get(equation.primitive.name)
            if translate is None:
                raise UserError(f'onnx: the operation {equation.primitive.name} has no translation')
            results = [translate(graph, equation, *arguments)]
        values |= dict(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _require(condition: bool, equation: Any) -> None:
    if not condition:
        raise UserError(f'onnx: this use of {equation.primitive.name} has no translation: {equation}')


def _convolution(graph: _Graph, equation: Any, x: Value, kernel: Value) -> Value:
    params = equation.params
    numbers = params['dimension_numbers']
    _require(params['batch_group_count'] == 1 and set(params['lhs_dilation']) == {1}, equation)
    if isinstance(kernel, np.ndarray):
        kernel = kernel.transpose(numbers.rhs_spec)
    else:
        kernel = graph.add('Transpose', kernel, perm=numbers.rhs_spec)
    low, high = zip(*params['padding'], strict=True)
    y = graph.add(
        'Conv',
        graph.add('Transpose', x, perm=numbers.lhs_spec),
        kernel,
        strides=params['window_strides'],
        dilations=params['rhs_dilation'],
        pads=[*low, *high],
        group=params['feature_group_count'],
    )
    return graph.add('Transpose', y, perm=np.argsort(numbers.out_spec).tolist())


def _dot(graph: _Graph, equation: Any, a: Value, b: Value) -> Value:
    left, right = (atom.aval.ndim for atom in equation.invars)
    _require(equation.params['dimension_numbers'] == (((left - 1,), (0,)), ((), ())) and right == 2, equation)
    return graph.add('MatMul', a, b)


def _reshape(graph: _Graph, equation: Any, x: Value) -> Value:
    sizes = equation.outvars[0].aval.shape
    free = [axis for axis, size in enumerate(sizes) if not isinstance(size, int)]
    if len(free) == 1:  # the one that follows from the others
        sizes = [-1 if axis in free else size for axis, size in enumerate(sizes)]
    return graph.add('Reshape', x, graph.sizes(sizes))


def _broadcast(graph: _Graph, equation: Any, x: Value) -> Value:
    sizes, kept = equation.outvars[0].aval.shape, equation.params['broadcast_dimensions']
    added = [axis for axis in range(len(sizes)) if axis not in kept]
    if added:
        x = graph.add('Unsqueeze', x, np.array(added))
    repeats = any(sizes[axis] != 1 for axis in added)
    if not repeats and [sizes[axis] for axis in kept] == list(equation.invars[0].aval.shape):
        return x
    return graph.add('Expand', x, graph.sizes(sizes))


def _slice(graph: _Graph, equation: Any, x: Value) -> Value:
    starts, limits = equation.params['start_indices'], equation.params['limit_indices']
    return _cut(graph, x, equation.invars[0].aval.shape, starts, limits, equation.params['strides'])


def _cut(graph: _Graph, x: Value, shape: Any, starts: Any, limits: Any, strides: Any = None) -> Value:
    strides = strides or [1] * len(shape)
    axes = [at for at, size in enumerate(shape) if (starts[at], limits[at], strides[at]) != (0, size, 1)]
    if not axes:
        return x
    starts, limits = (graph.sizes([bounds[at] for at in axes]) for bounds in (starts, limits))
    return graph.add('Slice', x, starts, limits, *(np.array(v, np.int64) for v in (axes, [strides[a] for a in axes])))


def _gather(graph: _Graph, equation: Any, x: Value, indices: Value) -> Value:
    """A cut at a known place, or a choice of rows along one axis; nothing else is needed."""
    numbers, sizes = equation.params['dimension_numbers'], equation.params['slice_sizes']
    operand, where = (atom.aval for atom in equation.invars)
    others = numbers.operand_batching_dims, numbers.start_indices_batching_dims
    _require(others == ((), ()), equation)
    if isinstance(indices, np.ndarray) and indices.ndim == 1:
        _require(numbers.offset_dims == tuple(range(len(equation.outvars[0].aval.shape))), equation)
        starts = [0] * operand.ndim
        for axis, index in zip(numbers.start_index_map, indices.tolist(), strict=True):
            _require(index >= 0, equation)
            starts[axis] = index
        limits = [start + size for start, size in zip(starts, sizes, strict=True)]
        x = _cut(graph, x, operand.shape, starts, limits)
        removed = numbers.collapsed_slice_dims
        return graph.add('Squeeze', x, np.array(removed, np.int64)) if removed else x
    axis = numbers.collapsed_slice_dims[0] if numbers.collapsed_slice_dims else 0
    whole = [size if at != axis else 1 for at, size in enumerate(operand.shape)]
    kept = tuple(at for at in range(operand.ndim) if at != axis)
    rows = (numbers.collapsed_slice_dims, numbers.start_index_map, numbers.offset_dims) == ((axis,), (axis,), kept)
    _require(rows and list(sizes) == whole and where.ndim == 2 and where.shape[1] == 1, equation)
    index = graph.add('Cast', graph.add('Squeeze', indices, np.array([1])), to=onnx.TensorProto.INT64)
    zero, last = np.array([0], np.int64), graph.sizes([operand.shape[axis] - 1])
    return graph.add('Gather', x, graph.add('Min', graph.add('Max', index, zero), last), axis=axis)


def _pad(graph: _Graph, equation: Any, x: Value, value: Value) -> Value:
    low, high, inner = zip(*equation.params['padding_config'], strict=True)
    _require(not any(inner), equation)
    return graph.add('Pad', x, graph.sizes([*low, *high]), value)


def _concatenate(graph: _Graph, equation: Any, *parts: Value) -> Value:
    return graph.add('Concat', *(part for part in parts if part is not None), axis=equation.params['dimension'])


def _stack(graph: _Graph, equation: Any, *parts: Value) -> Value:
    axis = equation.params['axis']
    return graph.add('Concat', *(graph.add('Unsqueeze', part, np.array([axis])) for part in parts), axis=axis)


def _iota(graph: _Graph, equation: Any) -> Value:
    aval = equation.outvars[0].aval
    _require(aval.ndim == 1, equation)
    limit = graph.add('Squeeze', graph.sizes(aval.shape), np.array([0]))
    return _cast(graph, equation, graph.add('Range', np.int64(0), limit, np.int64(1)))


def _size(graph: _Graph, equation: Any) -> Value:
    return _cast(graph, equation, graph.add('Squeeze', graph.sizes([equation.params['dim']]), np.array([0])))


def _cast(graph: _Graph, equation: Any, x: Value) -> Value:
    dtype = equation.outvars[0].aval.dtype
    return graph.add('Cast', x, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _reduce(operator: str) -> Callable[..., Value]:
    return lambda graph, equation, x: graph.add(operator, x, np.array(equation.params['axes']), keepdims=0)


def _plain(operator: str) -> Callable[..., Value]:
    """An operator that takes the same inputs."""
    return lambda graph, equation, *inputs: graph.add(operator, *inputs)


def _cube_root(graph: _Graph, equation: Any, x: Value) -> Value:
    return graph.add('Mul', graph.add('Sign', x), graph.add('Pow', graph.add('Abs', x), np.float32(1 / 3)))


_CALLS = ('jit', 'pjit', 'closed_call', 'custom_jvp_call', 'custom_vjp_call')  # their contents are translated
_PLAIN = {
    'abs': 'Abs', 'add': 'Add', 'add_any': 'Add', 'and': 'And', 'copy': 'Identity', 'div': 'Div', 'eq': 'Equal',
    'exp': 'Exp', 'ge': 'GreaterOrEqual', 'gt': 'Greater', 'le': 'LessOrEqual', 'log': 'Log', 'logistic': 'Sigmoid',
    'lt': 'Less', 'max': 'Max', 'min': 'Min', 'mul': 'Mul', 'neg': 'Neg', 'not': 'Not', 'or': 'Or', 'pow': 'Pow',
    'sign': 'Sign', 'sinh': 'Sinh', 'asinh': 'Asinh', 'sqrt': 'Sqrt', 'stop_gradient': 'Identity', 'sub': 'Sub',
    'tanh': 'Tanh',
}  # fmt: skip
_TABLE: dict[str, Callable[..., Value]] = {name: _plain(operator) for name, operator in _PLAIN.items()} | {
    'broadcast_in_dim': _broadcast,
    'cbrt': _cube_root,
    'concatenate': _concatenate,
    'conv_general_dilated': _convolution,
    'convert_element_type': _cast,
    'dim_as_value': _size,
    'dot_general': _dot,
    'gather': _gather,
    'integer_pow': lambda graph, equation, x: graph.add('Pow', x, np.float32(equation.params['y'])),
    'iota': _iota,
    'pad': _pad,
    'reduce_max': _reduce('ReduceMax'),
    'reduce_sum': _reduce('ReduceSum'),
    'reshape': _reshape,
    'rsqrt': lambda graph, equation, x: graph.add('Reciprocal', graph.add('Sqrt', x)),
    'select_n': lambda graph, equation, which, no, yes: graph.add('Where', which, yes, no),
    'slice': _slice,
    'square': lambda graph, equation, x: graph.add('Mul', x, x),
    'squeeze': lambda graph, equation, x: graph.add('Squeeze', x, np.array(equation.params['dimensions'])),
    'stack': _stack,
    'transpose': lambda graph, equation, x: graph.add('Transpose', x, perm=equation.params['permutation']),
}
