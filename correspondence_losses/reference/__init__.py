"""The reference trainer, laid out as the data flows.

Each room imports from those above it only::

files, seeding   reading and writing by name, whole or not at all; randomness by seed and place
progress, shards one line for each stage of a job; parts of a job that several processes share
host_copy        values on their way from a GPU, which goes on
data             readers: YCB-Video in both layouts, folders of images; backgrounds
segments         from images to label maps
scenes           the renderer, which writes YCB-Video's layout
streams          what a batch holds: samples, views and arrangements
models           backbones, and one model for each family, with its loss
engine           loop, schedule, checkpoint, history and scores of whatever is trained
figures          pictures
experiments      what a run is: settings, families, presets, record
runs             one run, sweeps, the table of results, the command line
deploy           models as programs for other runtimes, and as repositories of a hub
commands         one module for each command
"""
