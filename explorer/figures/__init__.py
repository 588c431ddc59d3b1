"""One function a chart: a table or record in, a plotly Figure out."""
