"""The command line: `colorexp ...`. Imports are inside the commands, so that help is instant."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from colorexp import paths


class _Commands(TyperGroup):
    """What the package says on purpose is one line; a bug keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  click's
        try:
            return super().invoke(ctx)
        except (ValueError, OSError, FloatingPointError) as error:
            typer.echo(f"error: {_told(error)}", err=True)
            raise typer.Exit(1) from None


def _told(error: Exception) -> str:
    """The message; of an error of the operating system the file first, relative to the project where it lies inside."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{paths.shown(os.fsdecode(error.filename))}: {error.strerror}"
    return str(error)


app = typer.Typer(
    cls=_Commands,
    help="Four image-colorization papers, reimplemented and re-run. `dvc repro` does everything; these are its pieces.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

RunName = Annotated[str, typer.Argument(help="<paper>/<run>, for example user_guided/res_unet")]


@app.command()
def profile(name: Annotated[str, typer.Argument(help="smoke, cpu, gpu or paper")]) -> None:
    """Switch the scale: changes the one word `profile:` of params.yaml."""
    from colorexp import config

    config.use_profile(name)
    typer.echo(f"profile: {name}; `dvc repro` makes what this scale lacks")


@app.command()
def runs(paper: Annotated[str | None, typer.Argument(help="only this paper's")] = None) -> None:
    """List the runs of params.yaml, what they vary, and which the profile includes."""
    from rich.console import Console
    from rich.table import Table

    from colorexp import config

    table = Table("run", "varies", "model", "profiles", "in this profile")
    for name in config.runs(paper):
        run = config.load(name)
        table.add_row(name, run.parent or "", run.model.split(":")[1], " ".join(run.profiles), "yes" if run.present else "no")
    Console().print(table)


@app.command()
def check() -> None:
    """Build every run of every profile without data: names a misspelt key or value of params.yaml before anything is trained."""
    from colorexp import config
    from colorexp.runs import build_task

    for name in config.datasets():
        for scale in config.PROFILES:
            config.dataset(name, profile=scale)
    for scale in config.PROFILES:
        config.efficiency(profile=scale)
    for paper in config.read()["exhibits"]:
        config.exhibit_run(paper)
    for name in config.runs():
        config.parent(name)
        for scale in config.PROFILES:
            run = config.load(name, profile=scale)
            if run.present:
                build_task(run)
    typer.echo(f"{len(config.runs())} runs and {len(config.datasets())} datasets are well formed")


@app.command()
def prepare(dataset: Annotated[str, typer.Argument(help="an entry of `datasets` in params.yaml")]) -> None:
    """Validate, resize and store the pictures of a dataset."""
    from colorexp import config
    from colorexp.data.prepare import prepare as make

    made = make(config.dataset(dataset))
    splits = ", ".join(f"{n} {split}" for split, n in made.manifest["split"].value_counts().items())
    typer.echo(f"{made.folder}: {splits}; {len(made.quarantine)} left out, see quarantine.csv")


@app.command()
def pairs(dataset: Annotated[str, typer.Argument(help="an entry of `datasets` in params.yaml, prepared")]) -> None:
    """Find references for the pictures of a dataset: their nearest and farthest in deep features, and palettes."""
    from collections import Counter

    from colorexp import config
    from colorexp.data import pairlist
    from colorexp.data.pairs import find

    found = find(config.dataset(dataset), published=config.palettes())
    pairlist.write(paths.pairs(dataset), found)
    counts = Counter(f"{pair.kind} in {pair.split}" for pair in found)
    typer.echo(f"{paths.pairs(dataset)}: {', '.join(f'{n} {kind}' for kind, n in counts.items()) or 'nothing to pair'}")


@app.command()
def train(run: RunName, out: Annotated[str | None, typer.Option(help="another folder for the result")] = None) -> None:
    """Train a run, or go on with one that was interrupted."""
    from colorexp import config
    from colorexp import runs as machinery

    machinery.train(machinery.build(config.load(run), out=out))


@app.command()
def evaluate(run: RunName) -> None:
    """Measure a trained run on the test pictures and print the means."""
    import json

    from colorexp import evaluation
    from colorexp import runs as machinery

    results = evaluation.evaluate(*machinery.load(paths.run(run), evaluating=True))
    evaluation.save(run, results)
    typer.echo(json.dumps(evaluation.summarise(results.rows), indent=1, sort_keys=True))


@app.command()
def colorize(
    picture: Annotated[Path, typer.Argument(help="a photograph, gray or not; its colours are ignored")],
    run: Annotated[str, typer.Option(help="a trained run")] = "user_guided/res_unet",
    hints: Annotated[Path | None, typer.Option(help="lines `row col #rrggbb` or `row col a b`, in pixels of the picture")] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="a picture whose colours are wanted, or palettes/<rrggbb>-<rrggbb>-..., for runs that take one"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="a PNG, written over if it exists; default: <picture>.<run>.png beside the picture")
    ] = None,
) -> None:
    """Colour your own picture with a trained run, at its full size."""
    from colorexp.apply import colorize_file

    target = out or picture.with_name(f"{picture.stem}.{run.replace('/', '-')}.png")
    for warning in colorize_file(picture, target, run=run, hints_file=hints, reference=reference):
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"written: {target}")


@app.command()
def hints(run: RunName, out: Annotated[Path, typer.Argument(help="a folder")]) -> None:
    """Write the hints that the evaluation of a run draws as files, so that other programs can be measured under the same ones."""
    from colorexp import config, evaluation

    written = evaluation.write_hints(config.load(run), out)
    typer.echo(f"{written} files written; `hint_files: {{<dataset>: {out}/<dataset>}}` reads them")


external_app = typer.Typer(help="Methods from elsewhere, which take part through their pictures; see external/README.md.")
app.add_typer(external_app, name="external", no_args_is_help=True)


@external_app.command("inputs")
def external_inputs(
    dataset: Annotated[str, typer.Argument(help="an entry of `datasets` in params.yaml")],
    out: Annotated[Path, typer.Argument(help="a folder")],
) -> None:
    """Write the test pictures of a dataset without colours, by the names under which they must come back."""
    from colorexp import config, external

    written = external.write_inputs(config.dataset(dataset).name, out)
    typer.echo(f"{written} pictures written to {out / dataset}")


@external_app.command("check")
def external_check(method: Annotated[str, typer.Argument(help="a folder below the one that params.yaml names")]) -> None:
    """List what is missing, unknown or of another size, and pictures whose lightness the method changed."""
    from colorexp import external

    found = external.check(method)
    for picture in (picture for picture in found if picture.flagged):
        typer.echo(f"{picture.dataset}/{picture.image}: lightness differs by {picture.luminance_difference:.1f}/255")
    typer.echo(f"{len(found)} pictures, {sum(picture.flagged for picture in found)} flagged")


@external_app.command("evaluate")
def external_evaluate(method: Annotated[str, typer.Argument(help="a folder below the one that params.yaml names")]) -> None:
    """Measure a method for every paper; `dvc repro` does so for all of them, and makes the tables."""
    from colorexp import external

    for line in external.measure(method):
        typer.echo(", ".join(f"{key} {value}" for key, value in line.items()))


study_app = typer.Typer(help="User studies: a blind page for participants, and the papers' tables from their answers.")
app.add_typer(study_app, name="study", no_args_is_help=True)
Paper = Annotated[str, typer.Option(help="disco or exemplar")]


@study_app.command("build")
def study_build(
    paper: Paper = "disco",
    out: Annotated[str | None, typer.Option(help="a folder; default: scratch/study/<paper>")] = None,
    seed: Annotated[int | None, typer.Option(help="another draw of pictures and places")] = None,
    also: Annotated[list[str] | None, typer.Option(help="a further run <paper>/<run>")] = None,
) -> None:
    """Write the page for participants and the key that must not reach them."""
    from colorexp import study

    built = study.build(paper, out or f"scratch/study/{paper}", seed=seed, also=also or [])
    typer.echo(f"{paths.shown(built.page)}: {built.questions} scenes, for participants")
    typer.echo(f"{paths.shown(built.key)}: whose picture is whose; put it into answers/{paper} with their files")
    if built.absent:
        typer.echo(f"without pictures: {', '.join(built.absent)}")


@study_app.command("score")
def study_score(
    folder: Annotated[Path, typer.Argument(help="keys and answers, for example answers/disco")],
    paper: Annotated[str | None, typer.Option(help="disco or exemplar; default: as the folder is called, else disco")] = None,
    out: Annotated[Path | None, typer.Option(help="also write the table, as CSV")] = None,
) -> None:
    """Show the paper's table of a user study, published beside what participants answered."""
    from colorexp.report import study, tables
    from colorexp.study import STUDIES

    table = study.table2(paper or (folder.name if folder.name in STUDIES else "disco"), folder.absolute())
    if out:
        tables.write(table, out.absolute())
    typer.echo(tables.markdown(table))


@app.command()
def report() -> None:
    """Rebuild scorecard, deviations, the tables' Markdown and LaTeX, reports/index.html and README's scorecard from what exists."""
    from colorexp.report import deviations, pages, scorecard

    scorecard.write("reports")
    deviations.write("reports")
    pages.build("reports")
    scorecard.into_readme()
    typer.echo(paths.resolve("reports/index.html"))


if __name__ == "__main__":
    app()
