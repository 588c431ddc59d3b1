"""What is seen in the browser; the only place that knows Streamlit."""
