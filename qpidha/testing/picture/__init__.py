"""A simulated run as a message sequence chart: recorded, thinned, drawn (SVG), and put on a page (HTML).

recorder     observes a run             happenings   what it notes down
fold         repetitions become one     shapes       lines, arrows, labels
chart        the drawing                style, page  colours, legend, filters
"""
