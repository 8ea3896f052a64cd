"""Runs: model.net to a Lava process graph, images, counts and a report. No torch in here.

Wings, each importing only those named before it: net (what a network is), reference (what it
means), fused (the same, computed otherwise), processes, graph (Lava on a CPU), cost, loihi (a
chip), report, commands.
"""

from hw_configs.files import UserError
from lava_models.net.hdf5 import read_net, write_net
from lava_models.net.latents import HostBits, Selection
from lava_models.net.layers import Conv, ConvT, Dense, Glif, Lif
from lava_models.net.netfile import NetFile
from lava_models.net.program import schedule_for
from lava_models.net.schedule import Schedule
from lava_models.reference.rule30 import ChipBits
from lava_models.reference.simulator import Reference, decode_images, encode_images

__all__ = [
    "ChipBits", "Conv", "ConvT", "Dense", "Glif", "HostBits", "Lif", "NetFile", "Reference",
    "Schedule", "Selection", "UserError", "decode_images", "encode_images", "read_net",
    "schedule_for", "write_net",
]
