"""Files and containers to AnnData, arrays and samples, without torch."""
