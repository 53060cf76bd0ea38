"""The walk of OneFlow's page on ONNX, word for word but for the prefix of its imports, from weights in a folder."""

import subprocess
import sys
from pathlib import Path

import numpy as np

EXAMPLE = Path(__file__).parents[2] / "examples/oneflow_resnet.py"

WALK = """
import sardonyx.compat.oneflow as flow
from sardonyx.compat.oneflow import nn
from sardonyx.compat.flowvision.models import resnet34
from sardonyx.compat.oneflow_onnx.oneflow2onnx.util import convert_to_onnx_and_check

class ResNet34Graph(nn.Graph):
    def __init__(self, eager_model):
        super().__init__()
        self.model = eager_model

    def build(self, x):
        return self.model(x)

# Model parameter storage directory
MODEL_PARAMS = 'checkpoints/resnet34'

params = flow.load(MODEL_PARAMS)
model = resnet34()
model.load_state_dict(params)

# Set the model to eval mode
model.eval()

resnet34_graph = ResNet34Graph(model)
# Build the static graph model
resnet34_graph._compile(flow.randn(1, 3, 224, 224))

# Export as ONNX model and check
convert_to_onnx_and_check(resnet34_graph,
                          flow_weight_dir=MODEL_PARAMS,
                          onnx_model_path="./",
                          print_outlier=True,
                          dynamic_batch_size=True)
"""

INFER = """
import numpy as np
from {runtime} import InferenceSession

img = np.load('cat.npy')
# Create an InferenceSession object
ort_sess = InferenceSession('model.onnx', providers=['TensorrtExecutionProvider',
                                                     'CUDAExecutionProvider',
                                                     'CPUExecutionProvider'])
# Call the `run` method of the InferenceSession object to perform inference
results = ort_sess.run(None, {{"_ResNet34Graph_0-input_0/out": img}})

# Output inference results
CLASS_NAMES = [f"{{i}}" for i in range(1000)]
print(CLASS_NAMES[np.argmax(results[0])])
np.save('{runtime}.npy', results[0])
"""


def run(code, folder):
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_walk(tmp_path):
    import sardonyx.compat.oneflow as flow
    from sardonyx.compat.flowvision.models import resnet34

    flow.manual_seed(1)
    flow.save(resnet34().state_dict(), tmp_path / "checkpoints/resnet34")
    assert run(WALK.replace("224", "64"), tmp_path) == ""  # no outliers; images are small to save time
    np.save(tmp_path / "cat.npy", np.random.default_rng(0).random((1, 3, 64, 64), np.float32))
    names = {run(INFER.format(runtime=name), tmp_path) for name in ("sardonyx", "onnxruntime")}
    ours, theirs = (np.load(tmp_path / f"{name}.npy") for name in ("sardonyx", "onnxruntime"))
    assert ours.shape == (1, 1000)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())
    assert len(names) == 1


def test_example(tmp_path):
    code = "import runpy, sys; sys.argv[1:] = ['--model', 'resnet18', '--size', '64', '--folder', '.']; "
    shown = run(f"{code}runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')", tmp_path)
    assert "the outputs are equal" in shown
    assert "input '_ResNetGraph_0-input_0/out', result (2, 1000)" in shown
