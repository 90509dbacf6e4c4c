"""The other direction: new instances of a store flow to a DICOM node or to another store.

What a store tells of (`sources`), fetched (`fetch`), sent (`peer`, `web`) and settled by one table (`events`); `exporter` is the flow.
"""
