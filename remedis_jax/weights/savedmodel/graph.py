"""What of a SavedModel may be loaded: its program is checked op by op and cut down to that.

A SavedModel is a program. Loading one can run its initialisers and restore functions, and calling
it runs whatever its functions contain, which may read and write files. So before anything is
loaded this module looks at the parsed `saved_model.pb` and refuses it unless every function that
anything in it can call consists of operations on a written list of pure ones. What TensorFlow is
then given is not the file but a copy that holds only the one function that will be called, the
functions it calls in turn, and the variables.

Standard library only: `worker` loads this file by its path, in an interpreter where the
rest of this package need not be installed. The protocol buffers come parsed, from TensorFlow.
"""

import math

# Operations whose only effect is their result. What is not on the list is refused by name, so a
# harmless one that is missing costs a clear message, and a harmful one nothing.
PURE_OPS = frozenset(
    """
    Abs Add AddN AddV2 All Any ArgMax ArgMin Assert AvgPool BatchMatMul BatchMatMulV2 BatchMatMulV3
    BatchToSpaceND BiasAdd BiasAddV1 BroadcastArgs BroadcastTo Cast Ceil CheckNumerics ClipByValue
    Concat ConcatV2 Const Conv2D Cumsum DepthwiseConv2dNative Div DivNoNan Einsum Elu EnsureShape
    Equal Erf Exp ExpandDims Expm1 Fill Floor FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2
    FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual Identity IdentityN
    InvertPermutation IsFinite IsInf IsNan L2Loss LeakyRelu Less LessEqual Log Log1p LogSoftmax
    LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool MaxPoolV2 Maximum Mean Merge Min Minimum
    MirrorPad Mod Mul MulNoNan Neg NoOp NotEqual OneHot OnesLike Pack Pad PadV2
    PlaceholderWithDefault Pow PreventGradient Prod Range Rank RealDiv Reciprocal Relu Relu6 Reshape
    ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor Reverse ReverseV2 Rint Round Rsqrt
    ScaleAndTranslate Select SelectV2 Selu Shape ShapeN Sigmoid Sign Size Slice Snapshot Softmax
    Softplus SpaceToBatchND Split SplitV Sqrt Square SquaredDifference Squeeze StopGradient
    StridedSlice Sub Sum Switch Tanh Tile Transpose Unpack Where ZerosLike
    ReadVariableOp
    Case If PartitionedCall StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile While
    """.split()
)

# What the training half of a model contains besides. It stays inside the process as well, but makes
# no fixed features, so it is tolerated only in functions that are neither loaded nor called.
TRAINING_OPS = frozenset(
    """
    AssignAddVariableOp AssignSubVariableOp AssignVariableOp AvgPoolGrad BiasAddGrad
    BroadcastGradientArgs Conv2DBackpropFilter Conv2DBackpropInput DisableCopyOnRead
    FusedBatchNormGrad FusedBatchNormGradV2 FusedBatchNormGradV3 MaxPoolGrad RandomStandardNormal
    RandomUniform RandomUniformInt ReluGrad ResourceApplyAdam ResourceApplyGradientDescent
    ResourceApplyKerasMomentum ResourceApplyMomentum RsqrtGrad SigmoidGrad
    SoftmaxCrossEntropyWithLogits SparseSoftmaxCrossEntropyWithLogits SqrtGrad StatelessRandomGetAlg
    StatelessRandomGetKeyCounter StatelessRandomNormalV2 StatelessRandomUniformV2 TanhGrad
    TruncatedNormal VarIsInitializedOp
    """.split()
)

# JAX's export: a compiled module that cannot be looked into op by op. Only for our own files.
XLA_OP = "XlaCallModule"

# A constant is part of the program. Weights of a size belong in variables.
_MOST_ELEMENTS = 2**26
_PLAIN_KINDS = ("user_object", "variable", "function", "bare_concrete_function", "constant")
_WRITTEN_BY = "Ask whoever made it for a SavedModel that only computes features."


class Refused(Exception):
    """The file is not what may be loaded: one line for what is wrong, one for what to do."""

    def __init__(self, problem, remedy):
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


class Program:
    """A SavedModel that passed the checks.

    Attributes:
        saved_model: The parsed protocol buffer.
        called: Where the function that will be called is found: "__call__" or the name of a
            signature.
        signature: Whether it is a signature.
        functions: Names of the library functions that are part of it.
    """

    def __init__(self, saved_model, called, signature, functions):
        self.saved_model = saved_model
        self.called = called
        self.signature = signature
        self.functions = functions


def check_program(saved_model, own_export=False):
    """Refuses a SavedModel unless all it can do is to compute; nothing of it is loaded.

    Args:
        saved_model: Parsed SavedModel protocol buffer.
        own_export: The file was written by this process's caller a moment ago, so `XLA_OP` is
            accepted in it.

    Returns:
        Program.

    Raises:
        Refused: It is of TensorFlow 1, holds tables, files or initialisers, or has a function with
            an operation that is not on the list.
    """
    if len(saved_model.meta_graphs) != 1:
        raise Refused(
            f"holds {len(saved_model.meta_graphs)} graphs where one is expected", _WRITTEN_BY
        )
    meta = saved_model.meta_graphs[0]
    if not meta.HasField("object_graph_def") or not meta.object_graph_def.nodes:
        raise Refused(
            "is of TensorFlow 1 (it has no object graph)",
            "Load it with TensorFlow 2 and save it again with tf.saved_model.save.",
        )
    nodes = meta.object_graph_def.nodes
    paths = _check_nodes(nodes)
    if meta.asset_file_def:
        raise Refused("brings files of its own (assets)", _WRITTEN_BY)
    library = _library(meta)
    callables = {
        paths[index] or f"object {index}": _concrete_names(node)
        for index, node in enumerate(nodes)
        if _concrete_names(node)
    }
    called, signature = _callable(nodes)
    path = f"signatures/{called}" if signature else called
    pure = PURE_OPS | {XLA_OP} if own_export else PURE_OPS
    functions = _check_functions(path, callables[path], library, pure)
    for other, names in callables.items():
        _check_functions(other, names, library, pure | TRAINING_OPS)
    return Program(saved_model, called, signature, functions)


def _check_nodes(nodes):
    """Refuses special objects; returns the path from the root of each node ("" if there is none).

    The path is the first that is found breadth first, as TensorFlow numbers the nodes.
    """
    paths = [""] * len(nodes)
    waiting = [0]
    seen = {0}
    for index in waiting:
        for child in nodes[index].children:
            if not 0 <= child.node_id < len(nodes):
                raise Refused(
                    "is damaged (its object graph points outside itself)", "Copy it again."
                )
            if child.node_id not in seen:
                seen.add(child.node_id)
                prefix = f"{paths[index]}/" if paths[index] else ""
                paths[child.node_id] = prefix + child.local_name
                waiting.append(child.node_id)
    for index, node in enumerate(nodes):
        kind = node.WhichOneof("kind")
        if kind not in _PLAIN_KINDS:
            raise Refused(
                f"holds an object of kind {kind or 'unknown'} ({paths[index] or index}), which "
                "loading would run or open",
                _WRITTEN_BY,
            )
        if node.registered_saver:
            raise Refused(
                f"restores {paths[index] or index} by a program of its own", _WRITTEN_BY
            )
    return paths


def _library(meta):
    library = {}
    for function in meta.graph_def.library.function:
        name = function.signature.name
        # A function that is called like an operation would hide behind the operation's name.
        if name in library or name in PURE_OPS or name in TRAINING_OPS:
            raise Refused(f"defines function {name} twice or under a reserved name", _WRITTEN_BY)
        library[name] = function
    return library


def _concrete_names(node):
    kind = node.WhichOneof("kind")
    if kind == "function":
        return list(node.function.concrete_functions)
    if kind == "bare_concrete_function":
        return [node.bare_concrete_function.concrete_function_name]
    return []


def _callable(nodes):
    """The object itself if it can be called (as hub.load's result is), else its one signature."""
    children = {child.local_name: nodes[child.node_id] for child in nodes[0].children}
    if "__call__" in children and _concrete_names(children["__call__"]):
        return "__call__", False
    signatures = children["signatures"].children if "signatures" in children else ()
    names = sorted(
        child.local_name for child in signatures if _concrete_names(nodes[child.node_id])
    )
    if "serving_default" in names:
        return "serving_default", True
    if len(names) == 1:
        return names[0], True
    raise Refused(
        f"has no __call__ and {'no' if not names else 'more than one'} signature"
        f"{': ' + ', '.join(names) if names else ''}",
        "Save it with __call__, or with the signature serving_default.",
    )


def _check_functions(path, names, library, allowed):
    """Names of all functions that `names` reach; refuses an operation that is not allowed."""
    reached = dict.fromkeys(names)
    waiting = list(reached)
    foreign = set()
    for name in waiting:
        if name not in library:
            raise Refused(f"is damaged (its function {name} is missing)", "Copy it again.")
        for node in library[name].node_def:
            if node.op not in library and node.op not in allowed:
                foreign.add(node.op)
            _check_constant(node)
            for callee in _callees(node, library):
                if callee not in reached:
                    reached[callee] = None
                    waiting.append(callee)
    if foreign:
        raise Refused(
            f"is refused: {path} reaches {', '.join(sorted(foreign))}, where only operations on a "
            "list of pure computations are accepted (nothing of it was run)",
            _WRITTEN_BY,
        )
    return set(reached)


def _callees(node, library):
    names = [node.op] if node.op in library else []
    for value in node.attr.values():
        if value.WhichOneof("value") == "func":
            names.append(value.func.name)
        elif value.WhichOneof("value") == "list":
            names.extend(function.name for function in value.list.func)
    return names


def _check_constant(node):
    if node.op != "Const" or "value" not in node.attr:
        return
    sizes = [dim.size for dim in node.attr["value"].tensor.tensor_shape.dim]
    if any(size < 0 for size in sizes) or math.prod(sizes) > _MOST_ELEMENTS:
        raise Refused(f"holds a constant of shape {tuple(sizes)}", _WRITTEN_BY)


def prune(program):
    """Leaves in the SavedModel only what calling the chosen function takes, in place.

    The saver's functions, other signatures, gradients, initialisers, optimisers and Keras's own
    objects go: none of them is needed for an output, and what is absent cannot run. Indices of
    nodes and names of children stay, since checkpoint and variables are matched by them.
    """
    meta = program.saved_model.meta_graphs[0]
    graph = meta.object_graph_def
    for node in graph.nodes:
        node.ClearField("slot_variables")
        node.ClearField("saveable_objects")
        node.ClearField("registered_name")
        node.ClearField("serialized_user_proto")
        kind = node.WhichOneof("kind")
        if kind in ("function", "bare_concrete_function"):
            if not set(_concrete_names(node)) <= program.functions:
                _make_plain(node)
        elif kind == "user_object" and node.user_object.identifier != "signature_map":
            _make_plain(node)
    for name in set(graph.concrete_functions) - program.functions:
        del graph.concrete_functions[name]

    library = meta.graph_def.library
    kept = [f for f in library.function if f.signature.name in program.functions]
    for function in kept:
        for node in function.node_def:
            if "_gradient_op_type" in node.attr:
                del node.attr["_gradient_op_type"]
    constants = {n.constant.operation for n in graph.nodes if n.WhichOneof("kind") == "constant"}
    values = [node for node in meta.graph_def.node if node.name in constants]
    for node in values:
        if node.op != "Const":
            raise Refused(f"is damaged (its constant {node.name} is none)", "Copy it again.")
        _check_constant(node)
    # Copies first: clearing a field empties what points into it.
    kept, values = ([_copy(message) for message in messages] for messages in (kept, values))
    meta.graph_def.ClearField("library")
    meta.graph_def.ClearField("node")
    meta.graph_def.library.function.extend(kept)
    meta.graph_def.node.extend(values)
    for field in ("signature_def", "saver_def", "collection_def"):
        meta.ClearField(field)
    meta.meta_info_def.ClearField("function_aliases")


def _make_plain(node):
    node.user_object.Clear()
    node.user_object.identifier = "_generic_user_object"
    version = node.user_object.version
    version.producer = version.min_consumer = 1
    node.ClearField("dependencies")


def _copy(message):
    copied = type(message)()
    copied.CopyFrom(message)
    return copied
