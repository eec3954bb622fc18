from benchmarks.label_free import write_label_set
from mvfer.data.schema import load_splits
from processing.prompts_mvfer import prompts_for
from tests.train.toy import write_toy_data


def test_the_label_set_names_each_labelled_scan_and_says_nothing_of_others(tmp_path):
    source = write_toy_data(tmp_path / "toy")
    folder = write_label_set(source, tmp_path / "named")
    for name, rows in load_splits(source).items():
        named = load_splits(folder)[name]
        assert named["id"] == rows["id"] and named["expression"] == rows["expression"]
        classes = rows.features["expression"].names
        for label, texts, kind in zip(named["expression"], named["captions"], named["caption_source"], strict=True):
            expected = prompts_for([classes[label]], kinds=["names"])[classes[label]] if label >= 0 else []
            assert texts == expected and kind == ("label_prompts" if expected else "none")
