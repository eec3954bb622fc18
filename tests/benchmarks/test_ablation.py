from benchmarks.ablation import write_uncaptioned_set
from mvfer.data.schema import load_splits
from tests.train.toy import write_toy_data


def test_the_uncaptioned_set_keeps_the_captions_of_some_training_people_and_of_all_others(tmp_path):
    source = write_toy_data(tmp_path / "toy", subjects=(8, 3, 3))
    folder = write_uncaptioned_set(source, tmp_path / "few-captions", 0.25)
    for name, rows in load_splits(source).items():
        uncaptioned = load_splits(folder)[name]
        assert uncaptioned["id"] == rows["id"] and uncaptioned["expression"] == rows["expression"]
        captioned = {row["subject"] for row in uncaptioned if row["captions"]}
        assert len(captioned) == (2 if name == "train" else 3)
        for before, after in zip(rows["captions"], uncaptioned, strict=True):
            assert after["captions"] == (before if after["subject"] in captioned else [])
            assert after["caption_source"] == ("captions" if after["subject"] in captioned else "none")
