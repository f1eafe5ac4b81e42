"""A simulated run as a message sequence chart: recorded, thinned, drawn (SVG), and put on a page (HTML).

recorder     observes a run             happenings   what it records
fold         leaves repetitions out     shapes       lines, arrows, labels
chart        the drawing                style, page  colours, legend, filters
"""
