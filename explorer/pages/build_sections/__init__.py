"""Parts of pages, each a function that draws itself."""
