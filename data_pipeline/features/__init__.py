"""What a model may look up by the index of a user or an item.

interactions   the items of each user
side_features  tables of users and items as arrays
"""
