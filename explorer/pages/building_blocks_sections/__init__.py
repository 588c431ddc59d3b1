"""What the Building blocks page is made of: a module a panel, each with `show()`."""
