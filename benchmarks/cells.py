"""Blood cells as a data set of real images with uneven classes: crops the boxes of a detection set into class folders.

    python benchmarks/cells.py bccd_detection_voc.zip cells

ARCHIVE is the BCCD data set (https://github.com/Shenggan/BCCD_Dataset, MIT licence) as a zip of its folders
`JPEGImages`, `Annotations` and `ImageSets/Main`. Every box becomes a PNG in FOLDER/train/CLASS, FOLDER/val/CLASS or
FOLDER/test/CLASS, as its picture stands in the lists `train.txt`, `val.txt` and `test.txt`. Boxes without area are
named and left out.
"""

from __future__ import annotations

import argparse
import xml.etree.ElementTree as ElementTree
import zipfile
from collections import Counter
from io import BytesIO
from pathlib import Path

from PIL import Image

PARTS = ("train", "val", "test")


def main() -> None:
    """Crop all boxes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, metavar="ARCHIVE")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    counts: Counter[tuple[str, str]] = Counter()
    with zipfile.ZipFile(arguments.archive) as archive:
        members = {Path(name).name: name for name in archive.namelist()}
        for part in PARTS:
            for picture in archive.read(members[f"{part}.txt"]).decode().split():
                for label in crop(archive, members, picture, arguments.folder / part):
                    counts[part, label] += 1
    for part in PARTS:
        classes = ", ".join(f"{label} {count}" for (of, label), count in sorted(counts.items()) if of == part)
        print(f"{part}: {classes}")
    print(f"{counts.total()} crops in {arguments.folder}")


def crop(archive: zipfile.ZipFile, members: dict[str, str], picture: str, folder: Path) -> list[str]:
    """Write every box of a picture, and give their classes."""
    root = ElementTree.fromstring(archive.read(members[f"{picture}.xml"]))
    image = Image.open(BytesIO(archive.read(members[f"{picture}.jpg"]))).convert("RGB")
    labels = []
    for number, box in enumerate(root.iter("object")):
        label = box.findtext("name", "")
        sides = [int(box.findtext(f"bndbox/{side}", "0")) for side in ("xmin", "ymin", "xmax", "ymax")]
        left, top = max(0, sides[0]), max(0, sides[1])
        right, bottom = min(sides[2], image.width), min(sides[3], image.height)
        if right <= left or bottom <= top:
            print(f"left out: box {number} of {picture}, {label}, {sides}: has no area")
            continue
        path = folder / label / f"{picture}_{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.crop((left, top, right, bottom)).save(path)
        labels.append(label)
    return labels


if __name__ == "__main__":
    main()
