"""Libraries of operators: the examples, compiled with the system's compiler, and libraries that are wrong."""

from __future__ import annotations

import os
import pathlib
import pickle
import subprocess
import threading
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import helper, parser

import sardonyx as sx
from sardonyx import errors

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "examples" / "custom_op"
CC = os.environ.get("CC", "cc")
CXX = os.environ.get("CXX", "c++")


@pytest.fixture(autouse=True)
def _only_built_in() -> Iterator[None]:
    before = sx.registered_operators()
    yield
    for row in sx.registered_operators():
        if row not in before:
            sx.unregister_operator(*row)


def compiled(source: pathlib.Path, folder: pathlib.Path, *flags: str) -> str:
    library = folder / f"{source.stem}.so"
    compiler = [CC, "-std=c99"] if source.suffix == ".c" else [CXX, "-std=c++17"]
    warnings = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
    command = [*compiler, *warnings, "-O1", "-fPIC", "-shared", f"-I{sx.get_include()}", *flags, source, "-o", library]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return str(library)


@pytest.fixture(scope="module")
def scale_shift(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compiled(EXAMPLES / "scale_shift.cpp", tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def count_words(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compiled(EXAMPLES / "count_words.c", tmp_path_factory.mktemp("library"))


def library(tmp_path: pathlib.Path, text: str, suffix: str = "cpp") -> str:
    source = tmp_path / f"library.{suffix}"
    source.write_text(text)
    return compiled(source, tmp_path)


def model(text: str) -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21, "com.acme" : 1]> {text}')


def test_loaded_for_all_sessions(scale_shift: str) -> None:
    assert sx.load_operators(scale_shift) == [("com.acme", "ScaleShift", 1)]
    assert sx.load_operators(pathlib.Path(scale_shift)) == [("com.acme", "ScaleShift", 1)]
    proto = model("""g (float[N,3] x, float s) => (float[N,3] y) {
        a = com.acme.ScaleShift <factor = 3.0> (x, s) y = Neg(a)
    }""")
    session = sx.InferenceSession(proto)
    for rows in (2, 5000, 2, 0):
        x = np.random.default_rng(rows).standard_normal((rows, 3)).astype(np.float32)
        y = session.run(None, [x, np.float32(0.5)])[0]
        np.testing.assert_allclose(y, -(3 * x + np.float32(0.5)), rtol=1e-6)
    assert session.get_outputs()[0].shape == ["N", 3]
    report = {row.op: row.kernel for row in session.get_provider_report()}
    assert report["com.acme::ScaleShift"] == "scale_shift.so"


def test_registered_with_options(count_words: str, scale_shift: str) -> None:
    options = sx.SessionOptions()
    options.register_custom_ops_library(count_words)
    options.register_custom_ops_library(count_words)
    options.register_custom_ops_library(scale_shift)
    proto = model("g (string[N] x) => (int64[N] y) { y = com.acme.CountWords(x) }")
    text = np.array(["", "one", " two  words ", "ein\tzwei\ndrei"], object)
    session = sx.InferenceSession(proto, options)
    for again in (session, pickle.loads(pickle.dumps(session))):
        assert again.run(None, [text])[0].tolist() == [0, 1, 2, 3]
    with pytest.raises(errors.NotImplemented, match="load_operators"):
        sx.InferenceSession(proto)
    assert ("com.acme", "CountWords", 1) not in sx.registered_operators()


def test_many_threads(scale_shift: str) -> None:
    sx.load_operators(scale_shift)
    session = sx.InferenceSession(
        model("g (float[N] x) => (float[N] y) { y = com.acme.ScaleShift <factor = 2.0> (x) }")
    )
    wrong = []

    def work(k: int) -> None:
        for n in range(1, 30):
            x = np.full(n, k, np.float32)
            if not np.array_equal(session.run(None, [x])[0], 2 * x):
                wrong.append((k, n))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ("(float[2] x) => (float[2] y) { y = com.acme.ScaleShift <factor = 0.0> (x) }", "factor is 0"),
        (
            "(float[2] x) => (float[2] y) { y = com.acme.ScaleShift <factor = 2> (x) }",
            "'factor' is of another kind: int",
        ),
        (
            "(float[2] x) => (float[2] y) { y = com.acme.ScaleShift(x, x, x) }",
            "has 3 inputs; the operator takes 1 to 2",
        ),
        ("(float[2] x) => (float[2] y, float[2] z) { y, z = com.acme.ScaleShift(x) }", "has 2 outputs"),
        ("(double[2] x) => (double[2] y) { y = com.acme.ScaleShift(x) }", "element type 11 where 1 is expected"),
        ("(float[2] x) => (int64[2] y) { y = com.acme.CountWords(x) }", "the input holds no strings"),
    ],
)
def test_nodes_at_fault(graph: str, message: str, scale_shift: str, count_words: str) -> None:
    sx.load_operators(scale_shift)
    sx.load_operators(count_words)
    with pytest.raises(errors.Error, match=rf"\[com.acme::\w+ .*{message}"):
        sx.InferenceSession(model(f"g {graph}")).run(None, {"x": np.ones(2, np.float64 if "double" in graph else "f4")})


MANY = """
#include <sardonyx/custom_op.hpp>
#include <cstring>

// y = the attributes as text; z = the shape of the first present input, where somebody wants it.
struct Report {
  explicit Report(const sardonyx::Node& node) {
    text = std::to_string(node.attribute("i", 7)) + " " + node.attribute("s", "none");
    for (int64_t i : node.attribute("ii", std::vector<int64_t>())) text += " " + std::to_string(i);
    for (float f : node.attribute("ff", std::vector<float>())) text += " " + std::to_string(static_cast<int>(f));
    for (const std::string& s : node.attribute("ss", std::vector<std::string>())) text += " " + s;
    if (const auto tensor = node.tensor("t")) text += " " + std::to_string(tensor->data<double>()[1]);
    text += node.has_input(0) ? " first" : " no first";
  }
  void compute(sardonyx::Run& run) const {
    run.optional_output(0, SX_STRING, {});
    run.set_string(0, 0, text);
    const sardonyx::Tensor x = run.optional_input(0).value_or(run.input(1));
    const std::vector<int64_t> shape = x.shape();
    const auto z = run.optional_output(1, SX_INT64, {static_cast<int64_t>(shape.size())});
    if (z && !shape.empty()) std::memcpy(z->raw(), shape.data(), shape.size() * sizeof(int64_t));
  }
  std::string text;
};

struct Nothing {
  explicit Nothing(const sardonyx::Node&) {}
  void compute(sardonyx::Run&) const {}
};

struct Wrong {
  explicit Wrong(const sardonyx::Node&) {}
  static void infer(sardonyx::Infer& infer) { infer.output(0, {SX_FLOAT32, std::vector<int64_t>{2}}); }
  void compute(sardonyx::Run& run) const { run.output<float>(0, {3}); }
};

SARDONYX_OPERATORS(registry) {
  registry.add<Report>("com.acme", "Report");
  registry.add<Nothing>("com.acme", "Nothing");
  registry.add<Wrong>("com.acme", "Wrong");
}
"""


def test_attributes_absent_values_and_broken_promises(tmp_path: pathlib.Path) -> None:
    sx.load_operators(library(tmp_path, MANY))
    tensor = helper.make_tensor("t", onnx.TensorProto.DOUBLE, [2], [1.0, 2.5])
    node = helper.make_node(
        "Report", ["", "x"], ["y", "z"], domain="com.acme", i=3, s="hi", ii=[1, 2], ff=[4.0], ss=["a", "b"], t=tensor
    )
    proto = model("g (float[M,N] x) => (string y, int64[2] z) { y, z = com.acme.Report(x, x) }")
    proto.graph.node[0].CopyFrom(node)
    x = np.ones((2, 3), np.float32)
    y, z = sx.InferenceSession(proto).run(None, [x])
    assert (y.item(), z.tolist()) == ("3 hi 1 2 4 a b 2.500000 no first", [2, 3])
    plain = model("g (float[M,N] x) => (string y) { y = com.acme.Report(x, x) }")
    assert sx.InferenceSession(plain).run(None, [x])[0].item() == "7 none first"
    with pytest.raises(errors.Error, match="did not make output 0"):
        sx.InferenceSession(model("g (float[M] x) => (float y) { y = com.acme.Nothing(x) }")).run(None, [x[0]])
    with pytest.raises(errors.Fail, match=r"output 0 is f32\[3\], which was to be f32\[2\]"):
        sx.InferenceSession(model("g (float[M] x) => (float[2] y) { y = com.acme.Wrong(x) }")).run(None, [x[0]])
    with pytest.raises(errors.Fail, match="input 1 is required but absent"):
        node.input[:] = [""]
        proto.graph.node[0].CopyFrom(node)
        sx.InferenceSession(proto).run(None, [x])


ENTRY = (
    "#include <sardonyx/custom_op.h>\nint SardonyxRegisterOperators(const SxApi* api, SxRegistry* registry) {{ {} }}\n"
)
FILL = (
    'SxOperator op = {0}; op.abi = SX_CUSTOM_OP_ABI; op.domain = "com.acme"; op.name = "Op"; op.since_version = 1; '
    "op.compute = (int (*)(const SxApi*, SxRun*, void*))0; (void)api; "
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "int nothing(void);\nint nothing(void) { return 0; }\n",
            "exports no function SardonyxRegisterOperators; compile",
        ),
        ("int RegisterCustomOps(void);\nint RegisterCustomOps(void) { return 0; }\n", "compiled for onnxruntime"),
        (ENTRY.format(FILL + "op.abi = 99; return api->add_operator(registry, &op);"), "version 99 of the interface"),
        (ENTRY.format(FILL + "return api->add_operator(registry, &op);"), "lacks domain, name or compute"),
        (ENTRY.format('(void)registry; return api->fail("no licence");'), "no licence"),
        (ENTRY.format("(void)registry; (void)api; return 5;"), "failed to register its operators"),
    ],
)
def test_libraries_that_cannot_be_loaded(text: str, message: str, tmp_path: pathlib.Path) -> None:
    path = library(tmp_path, text, "c")
    for load in (sx.load_operators, sx.SessionOptions().register_custom_ops_library):
        with pytest.raises(errors.InvalidArgument, match=message):
            load(path)


def test_files_that_are_no_libraries(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.NoSuchFile, match="no readable library"):
        sx.load_operators(tmp_path / "missing.so")
    (tmp_path / "text.so").write_text("text")
    with pytest.raises(errors.InvalidArgument, match="cannot be loaded as a library"):
        sx.load_operators(tmp_path / "text.so")


def test_duplicates(scale_shift: str, tmp_path: pathlib.Path) -> None:
    sx.register_operator("com.acme", "ScaleShift", lambda x: x)
    with pytest.raises(errors.InvalidArgument, match=r"com.acme::ScaleShift of version 1 is registered already"):
        sx.load_operators(scale_shift)
    twice = (
        (EXAMPLES / "scale_shift.cpp")
        .read_text()
        .replace("\n  registry.add", "\n  for (int i : {0, 1}) (void)i, registry.add")
    )
    path = library(tmp_path, twice)
    with pytest.raises(errors.InvalidArgument, match="registered already"):
        sx.SessionOptions().register_custom_ops_library(path)
        sx.load_operators(path)
    built_in = (EXAMPLES / "scale_shift.cpp").read_text().replace('"com.acme", "ScaleShift"', '"ai.onnx", "Relu"')
    (tmp_path / "other").mkdir()
    with pytest.raises(errors.InvalidArgument, match="Relu is built in"):
        sx.load_operators(library(tmp_path / "other", built_in))


def test_folded_where_pure(scale_shift: str) -> None:
    sx.load_operators(scale_shift)
    session = sx.InferenceSession(
        model("""g (float[2] x) => (float[2] y) <float[2] c = {1, 2}> {
            a = com.acme.ScaleShift <factor = 2.0> (c) y = Add(x, a)
        }""")
    )
    assert [row.op for row in session.get_provider_report()] == ["Add"]
    assert session.run(None, [np.zeros(2, np.float32)])[0].tolist() == [2, 4]
