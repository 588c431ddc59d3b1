"""ResNet Explorer: `streamlit run app.py`."""

import streamlit as st

from explorer.pages import cached, edge, sidebar

st.set_page_config("ResNet Explorer", ":material/account_tree:", layout="wide")
st.logo("assets/logo.svg", size="large")
build = st.Page("explorer/pages/build.py", title="Build", default=True)
compare = st.Page("explorer/pages/compare.py", title="Compare")
receptive_field = st.Page("explorer/pages/receptive_field.py", title="Receptive field")
building_blocks = st.Page("explorer/pages/building_blocks.py", title="Building blocks")
experiments = st.Page("explorer/pages/experiments.py", title="Experiments")
gradient_flow = st.Page("explorer/pages/gradient_flow.py", title="Gradient flow")
degradation = st.Page("explorer/pages/degradation.py", title="Degradation")
attribution = st.Page("explorer/pages/attribution.py", title="Attribution")
page = st.navigation(
    [build, compare, receptive_field, building_blocks, experiments, gradient_flow, degradation, attribution],
    position="top",
)

draws_net = page.url_path == build.url_path

with edge.sentences():
    controls_first = sidebar.read()
    sidebar.share(page.url_path)
    if controls_first and draws_net:  # else they come behind the numbers
        sidebar.draw()
    if problem := sidebar.link_problem():
        st.warning(edge.plain(problem))
    cached.warm_up()
    with edge.sentences():
        page.run()
    if draws_net and not controls_first:
        sidebar.draw()
