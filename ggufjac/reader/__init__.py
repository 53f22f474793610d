"""Reading GGUF: a memory-mapped view of a model file's metadata and tensors, and nothing heavier than numpy."""

from ggufjac.reader.file import GGUFFile
from ggufjac.reader.metadata import Metadata
from ggufjac.reader.tensors import TensorInfo
from ggufjac.reader.types import GGMLType

__all__ = ["GGMLType", "GGUFFile", "Metadata", "TensorInfo"]
