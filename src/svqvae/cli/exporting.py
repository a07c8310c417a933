"""Commands that hand a run to others: export."""

from pathlib import Path
from typing import Annotated

import typer

from svqvae.cli.options import AsJson, Quiet, Run
from svqvae.cli.printing import print_json, say

FORMATS = ("onnx", "hub")

commands = typer.Typer()


@commands.command(epilog="Example: svqvae export run --format onnx --out model.onnx")
def export(
    run: Run,
    kind: Annotated[
        str,
        typer.Option(
            "--format",
            help="onnx: scaling, encoder, nearest code and probabilities as one graph. hub: a Hugging Face folder with "
            "a model card, ready to upload.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="File (onnx) or folder (hub) to write.", show_default="RUN/model.onnx")
    ] = None,
    license_name: Annotated[
        str | None,
        typer.Option("--license", help="Licence of the model for its card, such as mit.", show_default="other"),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write a run for programs without torch, or for a model hub. Nothing is uploaded."""
    if kind not in FORMATS:
        raise ValueError(f"`--format` must be one of {', '.join(FORMATS)}; got {kind!r}.")
    if kind == "hub" and out is None:
        raise ValueError("`--out` must be given with --format hub; got none. Name the folder to write.")
    if kind == "onnx" and license_name is not None:
        raise ValueError(
            f"`--license` must go with --format hub; got {license_name!r} with --format onnx. Leave it out."
        )
    if kind == "onnx" and out is not None and out.suffix.lower() != ".onnx":
        raise ValueError(f"`--out` must end in .onnx with --format onnx; got {out.name}.")
    from svqvae.progress import spinner

    with spinner(not quiet, "exporting"):
        if out is None or kind == "onnx":
            from svqvae.export.onnx_graph import export_onnx
            from svqvae.fitting.run_folder import read_fitted

            files = [out or run / "model.onnx"]
            export_onnx(read_fitted(run), files[0])
        else:
            from svqvae.export.hub import export_hub

            files = export_hub(run, out, license_name or "other")
    if as_json:
        print_json({"files": files, "format": kind})
    elif not quiet:
        say(f"Exported: {files[0] if kind == 'onnx' else out}")
