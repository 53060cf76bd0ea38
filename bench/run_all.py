"""Runs every benchmark here and leaves JSON, Markdown and plots in a folder."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

from sardonyx.cli.output import Output

EXAMPLES = """examples:
  python bench/run_all.py results --models models
  python bench/run_all.py results --models models --scripts startup memory --kernels build/dev/bench_kernels

Exports the networks of make_models.py first where --models is empty. Takes about an hour on two CPUs."""

HERE = Path(__file__).parent
OF_MODELS = ("models", "startup", "memory", "threads")
OF_NOTHING = ("trees", "training", "errors")


def run(script: str, *arguments: str) -> int:
    """Runs one script and returns its exit status."""
    return subprocess.run([sys.executable, str(HERE / f"{script}.py"), *arguments]).returncode


def main() -> int:
    made = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = [*OF_MODELS, *OF_NOTHING]
    made.add_argument("folder", type=Path, help="where to write the results")
    made.add_argument("--models", type=Path, default=Path("models"), help="folder of the models (default models)")
    made.add_argument("--scripts", nargs="+", choices=every, default=every, metavar="NAME", help="(default: all)")
    made.add_argument("--kernels", type=Path, metavar="PROGRAM", help="the built bench_kernels, to run as well")
    args = made.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if any(name in OF_MODELS for name in args.scripts) and not list(args.models.glob("*.onnx")):
        status = run("make_models", str(args.models))
        if status:
            return status
    failed = []
    for name in Output.progress(args.scripts, len(args.scripts), "benchmarks"):
        base = args.folder / name
        forms = ["--json", f"{base}.json", "--markdown", f"{base}.md"]
        if importlib.util.find_spec("matplotlib") is not None and name != "errors":
            forms += ["--plot", f"{base}.png"]
        if run(name, *([str(args.models)] if name in OF_MODELS else []), *forms):
            failed.append(name)
    if args.kernels is not None:
        for form, suffix in (("--json", "json"), ("--markdown", "md")):
            with open(args.folder / f"kernels.{suffix}", "w") as file:
                if subprocess.run([str(args.kernels), form], stdout=file).returncode:
                    failed.append("kernels")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
