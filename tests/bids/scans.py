"""The acquisitions that are found in a small dataset, for tests of what they hold."""

from qsmprep.bids.acquisitions import find_acquisitions
from qsmprep.bids.layout import open_dataset


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
