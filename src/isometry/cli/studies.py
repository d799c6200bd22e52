"""Commands that run networks; torch is loaded when one of them starts, not before."""

import itertools
from pathlib import Path

from isometry.cli.output import check_place, complain, emit, json_text
from isometry.cli.progress import progress


def demo(
    *,
    out: Path = Path("report.html"),
    data: str | None = None,
    data_dir: Path | None = None,
    width: int = 400,
    depth: int = 100,
    c: float = 1.0,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Measure real networks on a real image and show that one law fits every activation.

    Args:
        out: The page to write: self-contained .html, or .md with its figures beside it.
        data: Images: digits, fashion_mnist, cifar10 or cifar10_jpeg; the best found without.
        data_dir: Folder that holds a data set.
        width: Entries N of every layer.
        depth: Number of layers L.
        c: The common level of isometry, > 0.
        seed: Chooses the image and every weight.
        json: Print JSON.
    """
    from isometry.cli.origin import origin
    from isometry.data import best_available, load_images
    from isometry.experiments.demo import ACTIVATIONS, first_light, page

    check_place("--out", out)
    images = load_images(data or best_available(data_dir), data_dir=data_dir, limit=64)
    begun = itertools.count()
    with progress("networks") as show:
        found = first_light(
            images,
            width=width,
            depth=depth,
            c=c,
            seed=seed,
            progress=lambda now: show(next(begun), 2 * len(ACTIVATIONS), now=now),
        )
    report = page(found, origin(seed=seed))
    (report.write_markdown if out.suffix == ".md" else report.write_html)(out)
    complain("written", out)
    if json:
        print(json_text(found))  # noqa: T201
        return
    record = {
        "images": found.image_set,
        "width": width,
        "depth": depth,
        "c": c,
        "largest KS at equal c": found.largest_ks,
        "largest KS at equal sigma_w": max(n.comparison.ks for n in found.equal_sigma_w),
        "equal c": found.rows(),
        "equal sigma_w": [row for network in found.equal_sigma_w for row in network.rows()],
    }
    emit(record, as_json=False, tables=["equal c", "equal sigma_w"])
