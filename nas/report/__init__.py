"""What a person sees of a campaign: data apart from drawing."""
