"""Desktop-flow runs, their action logs, and the inventory, as Dataverse keeps them."""
