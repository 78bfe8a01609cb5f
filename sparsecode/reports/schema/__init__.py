"""Records of a report, by what they describe; `sparsecode.reports.document` has all of them."""
