"""No cell of a table is a formula in a spreadsheet, and numbers are what they were."""

from pathlib import Path

import pandas as pd

from moescope.analysis.data.csv import write_csv


def test_text_is_defused_and_numbers_stay(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "token": ["=HYPERLINK(1)", "+1", "-2", "@x", "\tx", "fine", None],
            "=topic": [-1.5, 2.0, 3.0, 4.0, 5.0, 6.0, float("nan")],
            "mixed": [-3, "=x", None, True, 1.5, "a=b", ""],
            "kind": pd.Categorical(["=a", "b", "b", "b", "b", "b", "b"]),
        },
        index=pd.Index([f"={n}" for n in range(7)], name="run"),
    )
    write_csv(frame, tmp_path / "t.csv", index=True)
    back = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    assert list(back.columns) == ["run", "token", "'=topic", "mixed", "kind"]
    assert back.token.tolist() == ["'=HYPERLINK(1)", "'+1", "'-2", "'@x", "'\tx", "fine", ""]
    assert back["'=topic"].tolist()[:2] == ["-1.5", "2.0"]
    assert back.mixed.tolist() == ["-3", "'=x", "", "True", "1.5", "a=b", ""]
    assert back.kind[0] == "'=a"
    assert back.run[0] == "'=0"


def test_a_table_without_columns_or_rows_is_written(tmp_path: Path) -> None:
    for number, frame in enumerate((pd.DataFrame(), pd.DataFrame({"a": [], "a b": []}))):
        write_csv(frame, tmp_path / f"{number}.csv")
        assert (tmp_path / f"{number}.csv").exists()
