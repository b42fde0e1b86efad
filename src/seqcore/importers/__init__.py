"""From what a framework made to layers: names and options, no bytes. One module a framework."""
