"""What else is known of each document: its source, its script and a guess at its language."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ...configs.errors import UserError
from .languages import language_of, script_of


def text_covariates(corpus: Path, split: str) -> pd.DataFrame | None:
    """Guesses script and language of every document of a split, read from the corpus.

    Returns:
        `script` and `language` by document id; None without the split's files.

    Raises:
        UserError: a file cannot be read.
    """
    parts = []
    for path in sorted(corpus.glob(f"{split}-*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(1024, columns=["id", "text"]):
                    frame = batch.to_pandas()
                    guesses = {
                        "script": frame["text"].map(script_of),
                        "language": frame["text"].map(language_of),
                    }
                    parts.append(pd.DataFrame(guesses).set_index(frame["id"].astype(str)))
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{path}: damaged ({error}); rerun `moescope corpus`") from error
    return pd.concat(parts) if parts else None
