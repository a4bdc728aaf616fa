"""pandas: `read_csv`, then `factorize` of users and items."""

from __future__ import annotations

import json
import sys

import pandas as pd

frame = pd.read_csv(sys.argv[1])
user_index, users = pd.factorize(frame["user_id"])
item_index, items = pd.factorize(frame["item_id"])
print(json.dumps({"rows": len(frame), "users": len(users), "items": len(items)}))
