"""The tutorial as a reader would write it: MovieLens-100K, two embeddings and an MLP, Keras `fit`.

Does not use reeltrain. Prints test RMSE and MAE, as predicted and clipped to [1, 5], and the time of `fit`.

By default no seed is set. `--seed` calls `keras.utils.set_random_seed`, which has a side effect with Keras
3.15 on TensorFlow 2.21: `fit(shuffle=True)` then uses the same row order in every epoch, because each epoch's
iterator restarts the seeded shuffle. results/quality_ml100k_2026-11-24.md shows the cost.
"""

import argparse
import json
import os
import sys
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", default="../shared/data/ml-100k", help="folder with u.data")
    parser.add_argument("--seed", type=int, help="for set_random_seed (the split's is 42)  [default: none]")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--no-shuffle", action="store_true", help="the same row order in every epoch")
    parser.add_argument("--quick", action="store_true", help="one epoch")
    parser.add_argument("--json", action="store_true", help="also print one JSON object, on the last line")
    args = parser.parse_args()
    path = os.path.join(args.data, "u.data")
    if not os.path.isfile(path):
        print(f"article_keras.py: DATA must be a folder with u.data, got {args.data}", file=sys.stderr)
        sys.exit(2)

    result = train_and_test(
        path, epochs=1 if args.quick else args.epochs, shuffle=not args.no_shuffle, seed=args.seed
    )
    print(f"{'':20}{'RMSE':>8}{'MAE':>8}")
    print(f"{'as predicted':20}{result['test_rmse_raw']:8.4f}{result['test_mae_raw']:8.4f}")
    print(f"{'clipped to [1, 5]':20}{result['test_rmse']:8.4f}{result['test_mae']:8.4f}")
    print(f"fit: {result['fit_secs']:.1f} s, {result['examples_per_sec']:,.0f} examples/s")
    if args.json:
        print(json.dumps(result))


def train_and_test(path: str, *, epochs: int, shuffle: bool, seed: int | None) -> dict[str, object]:
    """Runs the tutorial. Imports are here so that a wrong path is reported before they take seconds."""
    import keras
    import numpy as np
    import pandas as pd
    from sklearn.model_selection import train_test_split

    if seed is not None:
        keras.utils.set_random_seed(seed)

    ratings = pd.read_csv(path, sep="\t", names=["user_id", "item_id", "rating", "timestamp"])
    user_from_id = {user_id: index for index, user_id in enumerate(ratings["user_id"].unique())}
    item_from_id = {item_id: index for index, item_id in enumerate(ratings["item_id"].unique())}
    ratings["user"] = ratings["user_id"].map(user_from_id)
    ratings["item"] = ratings["item_id"].map(item_from_id)
    train, test = train_test_split(ratings, test_size=0.2, random_state=42)

    user_input = keras.layers.Input(shape=(1,))
    item_input = keras.layers.Input(shape=(1,))
    user = keras.layers.Flatten()(keras.layers.Embedding(len(user_from_id), 5)(user_input))
    item = keras.layers.Flatten()(keras.layers.Embedding(len(item_from_id), 5)(item_input))
    x = keras.layers.Concatenate()([item, user])
    x = keras.layers.Dense(128, activation="relu")(x)
    x = keras.layers.Dense(32, activation="relu")(x)
    output = keras.layers.Dense(1)(x)
    model = keras.Model([user_input, item_input], output)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse")

    begin = time.perf_counter()
    model.fit(
        [train["user"].values, train["item"].values],
        train["rating"].values,
        batch_size=32,
        epochs=epochs,
        shuffle=shuffle,
        verbose=2,
    )
    fit_secs = time.perf_counter() - begin

    predicted = model.predict([test["user"].values, test["item"].values], verbose=0)[:, 0].astype(np.float64)
    error = predicted - test["rating"].values
    clipped_error = np.clip(predicted, 1, 5) - test["rating"].values
    return {
        "test_rmse_raw": float(np.sqrt(np.mean(error**2))),
        "test_mae_raw": float(np.mean(np.abs(error))),
        "test_rmse": float(np.sqrt(np.mean(clipped_error**2))),
        "test_mae": float(np.mean(np.abs(clipped_error))),
        "fit_secs": fit_secs,
        "examples_per_sec": len(train) * epochs / fit_secs,
        "train_rows": len(train),
        "test_rows": len(test),
        "epochs": epochs,
        "seed": seed,
        "shuffle": shuffle,
    }


if __name__ == "__main__":
    main()
