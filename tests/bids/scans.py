"""What is found in a small dataset, and headers to spoil, for the tests of this folder."""

import gzip
import struct

from qsmprep.bids.acquisitions import find_acquisitions
from qsmprep.bids.layout import open_dataset

PIXDIM_BYTE, DIM_BYTE, SROW_X_BYTE, SLOPE_BYTE, OFFSET_BYTE = 76, 40, 280, 112, 108


def patch(path, byte, *values, form='<f'):
    """Overwrite numbers in the header, as they are stored."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    for value in values:
        struct.pack_into(form, raw, byte, value)
        byte += struct.calcsize(form)
    path.write_bytes(gzip.compress(bytes(raw)))


def find(dataset, subject='01', **keywords):
    return find_acquisitions(open_dataset(dataset.root), subject, **keywords)


def the_one(dataset, **keywords):
    found, rejected = find(dataset, **keywords)
    assert [item.error for item in rejected] == []
    assert len(found) == 1
    return found[0]


def the_error(dataset, **keywords):
    found, rejected = find(dataset, **keywords)
    assert found == []
    assert len(rejected) == 1
    return rejected[0].error
