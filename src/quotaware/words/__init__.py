"""The words that requests, answers and files say things in: values of the wire, limits and alerts, prices."""
