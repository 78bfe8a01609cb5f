"""Builders of reports: from models, samples and logged numbers to the records of `sparsecode.reports.document`."""
