// The importer and exporter, and graphs as text.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "check.h"
#include "onnx/exporter.h"
#include "onnx/importer.h"
#include "onnx/wire.h"
#include "ops/text.h"

namespace sx {
namespace {

std::string bytes_of(const WireWriter& message) {
  std::string bytes;
  message.write([&](std::string_view part) { bytes.append(part); });
  return bytes;
}

// What a graph looks like after a way through ONNX.
std::string round_trip(const std::string& text) {
  const auto graph = parse_graph(text);
  return dump(*import_bytes(export_bytes(*graph, {})).graph);
}

constexpr const char* kWithBodies = R"(graph main (c: bool[], x: f32[N,2]) => (y, w, y2) {
  w = const f32[2] {1.0, 2.5}
  scale = const i64[1] {-1}
  t: f32[N,2] = Identity(x)
  y: f32[N,2] = If<then_branch=graph then (; x: f32[N,2] = t) => (inner) {
    inner: f32[N,2] = Identity(x)
  }, else_branch=graph other (; x: f32[N,2] = x, d: bool[] = c) => (z) {
    w = const f32[2] {1.0, 2.5}
    z: f32[N,2] = If<then_branch=graph (; x: f32[N,2] = x) => (deep) {
      deep: f32[N,2] = Identity(x)
    }, else_branch=graph (; t: f32[N,2] = x) => (same) {
      same: f32[N,2] = Identity(t)
    }>(d)
  }>(c)
  y2: f32[2*N] = Reshape(y, scale)
}
)";

}  // namespace

TEST(wire_round_trip) {
  const std::string large(10000, 'x');
  WireWriter inner;
  inner.bytes(1, "name");
  inner.refer(2, large);
  inner.number(3, -5);
  WireWriter outer;
  outer.real(1, 0.5f);
  outer.message(2, inner);
  outer.packed(3, {1, -1, 300});
  const std::string bytes = bytes_of(outer);
  CHECK_EQ(bytes.size(), outer.size());
  WireReader in(bytes);
  float real = 0;
  CHECK(in.next());
  in.get(real);
  CHECK_EQ(real, 0.5f);
  CHECK(in.next());
  WireReader nested(in.bytes());
  std::string name;
  int64_t number = 0;
  CHECK(nested.next());
  nested.get(name);
  CHECK_EQ(name, "name");
  CHECK(nested.next());
  CHECK(nested.bytes() == large);
  CHECK(nested.next());
  nested.get(number);
  CHECK_EQ(number, -5);
  CHECK(!nested.next());
  std::vector<int64_t> packed;
  CHECK(in.next());
  in.get(packed);
  CHECK(packed == (std::vector<int64_t>{1, -1, 300}));
  CHECK(!in.next());
}

TEST(wire_damaged) {
  const auto walk = [](std::string_view bytes) {
    for (WireReader in(bytes); in.next();) {
    }
  };
  CHECK_THROWS(walk(std::string_view("\x0a\x05zz", 4)), "damaged");    // shorter than it says
  CHECK_THROWS(walk(std::string_view("\x08\xff\xff", 3)), "damaged");  // a number without an end
  CHECK_THROWS(walk(std::string_view("\x02\x00", 2)), "damaged");      // field 0
  CHECK_THROWS(walk(std::string_view("\x0b\x0c", 2)), "damaged");      // a group
  CHECK_THROWS(walk(std::string(12, '\xff')), "damaged");
}

TEST(text_round_trip) {
  const std::string text =
      R"(graph "a graph" ("1st": f32[N,3], in/put: seq(f32[..]), "a:0": optional(i64[?]), m: map(i64,str)) => (out, "1st") {
  c = const f32[2,2] {1.0, -2.5, 1e-07, inf}
  s = const str[2] {"a \"quoted\" \\ one", "line\x0abreak"}
  b = const bool[3] {0, 1, 1}
  one = const i64[0] {}
  shape = const i64[2] {-1, 1}
  out: f32[3*N,1] = Reshape<allowzero=0>("1st", shape)
  _ = Shape(out)
}
)";
  CHECK_EQ(dump(*parse_graph(text)), text);
  CHECK_EQ(dump(*parse_graph(kWithBodies)), kWithBodies);
}

TEST(text_random_and_fill) {
  const auto graph = parse_graph(
      "graph () => (a, b, c) { a = const f32[4] random 7\n b = const f32[4] random 7\n c = const i64[2,2] {9} }");
  const Tensor& a = graph->value(graph->find_value("a")).facts.constant;
  const Tensor& b = graph->value(graph->find_value("b")).facts.constant;
  for (int64_t i = 0; i < 4; ++i) {
    CHECK_EQ(a.data<float>()[i], b.data<float>()[i]);
    CHECK(a.data<float>()[i] >= -1.0f && a.data<float>()[i] < 1.0f);
  }
  CHECK(graph->value(graph->find_value("c")).facts.constant.integers() == std::vector<int64_t>(4, 9));
}

TEST(text_errors) {
  CHECK_THROWS(parse_graph("graph (x: f32[2]) => (y) {\n y = Identity(z)\n}"),
               "line 2 of the graph's text: 'z' is not defined here");
  CHECK_THROWS(parse_graph("graph (x: f33[2]) => (x) {}"), "'f33' is not an element type");
  CHECK_THROWS(parse_graph("graph () => () { a = const f32[2] {1.0, 2.0, 3.0} }"), "more elements");
  CHECK_THROWS(parse_graph("graph (x: f32[2]) => (y) { y = Identty(x) }"), "did you mean 'Identity'");
  CHECK_THROWS(parse_graph("graph (x: f32[2]) => (y) { y = Identity(x)"), "expected");
}

TEST(export_round_trip) {
  const std::string again = round_trip(kWithBodies);
  // A body reads what it captures under the name that it has outside; a name of its own gives way to one outside.
  CHECK(again.find("then_branch=graph then (; t: f32[N,2] = t) => (inner)") != std::string::npos);
  CHECK(again.find("w_1 = const f32[2] {1.0, 2.5}") != std::string::npos);
  CHECK_EQ(round_trip(again), again);
}

TEST(export_shared_constants) {
  // A constant that a body captures becomes one of the body, with the same memory, and is written once.
  const auto graph = parse_graph(R"(graph (c: bool[]) => (y) {
    weights = const f32[2000] random 1
    y = If<then_branch=graph (; a: f32[2000] = weights) => (b) { b = Identity(a) },
           else_branch=graph (; a: f32[2000] = weights) => (d) { d = Identity(a) }>(c)
  })");
  const std::string once = export_bytes(*graph, {});
  CHECK(once.size() < 9000);
  const ImportedModel model = import_bytes(once);
  CHECK(dump(*model.graph).find("then_branch=graph graph () => (b) {\n    weights = const f32[2000]") !=
        std::string::npos);
  CHECK(export_bytes(*model.graph, {}).size() < 9000);
}

TEST(export_outputs_that_are_not_produced) {
  // One value twice, and a body that gives back what it captures.
  const std::string text = R"(graph main (c: bool[], x: f32[2]) => (x, y, y) {
  y: f32[2] = If<then_branch=graph (; x: f32[2] = x) => (x) {
  }, else_branch=graph () => (k) {
    k = const f32[2] {3.0}
  }>(c)
}
)";
  const auto graph = import_bytes(export_bytes(*parse_graph(text), {})).graph;
  CHECK_EQ(graph->outputs.size(), 3);
  CHECK_EQ(graph->value(graph->outputs[0]).name, "x");
  CHECK_EQ(graph->value(graph->outputs[1]).name, "y");
  CHECK_EQ(graph->value(graph->outputs[2]).name, "y_1");
}

TEST(export_keeps_information) {
  ModelInfo info;
  info.producer_name = "somebody";
  info.model_version = 7;
  info.doc = "a model";
  info.graph_doc = "a graph";
  info.metadata = {{"key", "value"}, {"", ""}};
  info.opset_imports = {{"", 21}};
  const ImportedModel model =
      import_bytes(export_bytes(*parse_graph("graph g (x: f32[2]) => (y) { y = Identity(x) }"), info));
  CHECK_EQ(model.producer_name, "somebody");
  CHECK_EQ(*model.model_version, 7);
  CHECK_EQ(model.doc, "a model");
  CHECK_EQ(model.graph_doc, "a graph");
  CHECK_EQ(model.graph->name, "g");
  CHECK(model.metadata == info.metadata);
  CHECK_EQ(model.opset_imports.at(""), 21);
}

TEST(export_element_types) {
  for (const char* type : {"u8", "i8", "u16", "i16", "i32", "i64", "u32", "u64", "bool", "u4", "i4", "u2", "i2"}) {
    const std::string text = join("graph g () => (c) {\n  c = const ", type, "[3] {1, 0, 1}\n}\n");
    CHECK_EQ(round_trip(text), text);
  }
  for (const char* type : {"f32", "f64", "f16", "bf16"}) {
    const std::string text = join("graph g () => (c) {\n  c = const ", type, "[3] {1.5, -0.0, inf}\n}\n");
    CHECK_EQ(round_trip(text), text);
  }
  for (const char* type : {"f8e4m3fn", "f8e4m3fnuz", "f8e5m2", "f8e5m2fnuz", "f8e8m0", "f4e2m1"}) {
    const std::string text = join("graph g () => (c) {\n  c = const ", type, "[3] {x01, x0f, x02}\n}\n");
    CHECK_EQ(round_trip(text), text);
  }
  const std::string strings = "graph g () => (c) {\n  c = const str[2] {\"a\", \"\"}\n}\n";
  CHECK_EQ(round_trip(strings), strings);
  const std::string negative = "graph g () => (c) {\n  c = const i4[3] {-8, 7, -1}\n}\n";
  CHECK_EQ(round_trip(negative), negative);
}

TEST(export_external_data) {
  char folder[] = "sardonyx-test-XXXXXX";
  CHECK(mkdtemp(folder) != nullptr);
  const std::string path = std::string(folder) + "/model.onnx";
  const auto graph = parse_graph(
      "graph g () => (a, b, c) { a = const f32[300] random 1\n b = const f32[2] {1.0, 2.0}\n c = const f64[500] random "
      "2 }");
  ExportOptions options;
  options.external_data = true;
  export_file(*graph, {}, path, options);
  {
    const ImportedModel model = import_file(path);
    // Saved over itself while its weights are mapped.
    export_file(*model.graph, model, path, options);
    CHECK_EQ(dump(*model.graph), dump(*graph));
  }
  CHECK_EQ(dump(*import_file(path).graph), dump(*graph));
  CHECK_THROWS(import_bytes([&] {
                 std::ifstream file(path, std::ios::binary);
                 return std::string(std::istreambuf_iterator<char>(file), {});
               }()),
               "was given as bytes");
  std::remove(path.c_str());
  std::remove((path + ".data").c_str());
  std::remove(folder);
}

}  // namespace sx
